//! The recipe of a run with one phase, and the methods that it can name.

use super::distill::{check_image_guidance, check_w_embedding, earlier_w_embedding};
use super::{RunConfig, TeacherLora};
use crate::error::RecipeError;
use crate::method::adversarial::{AdversarialConfig, AdversarialMethod};
use crate::method::codi::{CodiConfig, CodiMethod};
use crate::method::consistency::{ConsistencyConfig, ConsistencyMethod};
use crate::method::denoising::DenoisingMethod;
use crate::method::matching::{MatchingConfig, MatchingMethod};
use crate::method::{
    Control, GuidanceWeights, InRecipe, LossWeighting, Method, NewControlNet, SharedSettings,
    StartModel, StudentPrediction, Trained, control_spec,
};
use crate::optim::OptimConfig;
use crate::run::Phase;
use fewstep_data::{ConditionConfig, Conditions, DataConfig};
use fewstep_diffusion::limits::{UPDATES, probability, within};
use fewstep_nn::{LoraConfig, Precision, WEmbedding};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The recipe with the methods that `method = "..."` can name: a line for each, with the section of
/// its settings where it has one.
macro_rules! phase_recipe {
    (@config $recipe:ident) => {
        &()
    };
    (@config $recipe:ident, $section:ident) => {
        &$recipe.$section
    };
    ($($(#[$about:meta])* $variant:ident = $name:literal: $method:ty $(, [$section:ident: $config:ty])?;)*) => {
        /// What is learnt in a run of one phase.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
        pub enum MethodName {
            $($(#[$about])* #[serde(rename = $name)] $variant,)*
        }

        impl MethodName {
            /// The names of all methods.
            pub const ALL: &[&str] = &[$($name),*];
        }

        /// How to go from a model to another in one phase.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct PhaseRecipe {
            /// What is learnt.
            pub method: MethodName,
            /// All randomness of the run.
            pub seed: u64,
            /// The model to start from: a model folder, a run folder, a safetensors file,
            /// `builtin:NAME`, or a name on the hub.
            pub teacher: String,
            /// LoRA of other tools that are added to the teacher first.
            #[serde(default, skip_serializing_if = "Vec::is_empty")]
            pub teacher_lora: Vec<TeacherLora>,
            /// How many of the last layers of the CLIP text encoders are skipped, as diffusers counts
            /// them: 1 is what web interfaces call CLIP skip 2. By default what the teacher says.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub clip_skip: Option<usize>,
            /// Type of the frozen teacher's weights: in 16 bits they take half the memory.
            #[serde(default)]
            pub teacher_precision: Precision,
            /// Updates.
            pub updates: u64,
            /// Which parameters move.
            #[serde(default)]
            pub train: Trained,
            /// Whether images are mirrored at random.
            #[serde(default)]
            pub flip: bool,
            /// Guidance weights w: `[min, max]`, or a single number. With `consistency` the teacher
            /// is guided by them, with `codi` all networks are; none for no guidance. With `matching`
            /// and `adversarial` the default is what the student that it starts from is for.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub w: Option<GuidanceWeights>,
            /// The guidance scale towards the source image of a teacher that sees one (InstructPix2Pix), as
            /// diffusers' `image_guidance_scale`: 1 is none. It is folded into the student. By default
            /// that of the student that the method starts from, else the teacher's, 1.5 as a rule.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub image_guidance: Option<f64>,
            /// LoRA of the student's weights, and with `matching` of the fake score's, instead of
            /// all weights.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub lora: Option<LoraConfig>,
            /// How w enters the network of a consistency model, the fake score of `matching`, and
            /// the discriminator of `adversarial`;
            /// the default is that of [`default_w_embedding`](super::default_w_embedding).
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub w_embedding: Option<WEmbedding>,
            /// Probability that an example loses its label, with `denoising`.
            #[serde(default)]
            pub label_dropout: f64,
            /// Weight of the loss over noise levels, with `denoising`, and of the fake score of
            /// `matching`; by default one that suits what the network predicts.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub weighting: Option<LossWeighting>,
            /// What the student predicts, with `codi` and `consistency`; see
            /// [`complete`](Self::complete).
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub student_prediction: Option<StudentPrediction>,
            /// The images.
            pub data: DataConfig,
            /// The control images that the model learns to take.
            #[serde(default, skip_serializing_if = "Option::is_none")]
            pub condition: Option<ConditionConfig>,
            /// The ControlNet that a model without one gets.
            #[serde(default, alias = "adapter")]
            pub controlnet: NewControlNet,
            $($(
                #[doc = concat!("Settings of `method = \"", $name, "\"`.")]
                #[serde(default)]
                pub $section: $config,
            )?)*
            /// How the parameters move. Its average is the target network.
            pub optim: OptimConfig,
            /// How the run reports and saves.
            #[serde(default)]
            pub run: RunConfig,
        }

        impl PhaseRecipe {
            fn check_method(&self) -> Result<(), RecipeError> {
                let shared = self.shared(Control {
                    train: self.train,
                    ..Control::default()
                }, None);
                match self.method {
                    $(MethodName::$variant => <$method>::check_shared(&shared)?,)*
                }
                $($(self.$section.validate().map_err(|e| e.within(stringify!($section)))?;)?)*
                Ok(())
            }

            /// Name of the phase, and the method.
            fn method(
                &self,
                control: Control,
                student: Option<StartModel>,
            ) -> (&'static str, Arc<dyn Method>) {
                match self.method {
                    $(MethodName::$variant => {
                        let recipe = self;
                        let config = phase_recipe!(@config recipe $(, $section)?);
                        let shared = recipe.shared(control, student);
                        let method = <$method>::from_recipe(config, shared);
                        (<$method>::PHASE, Arc::new(method))
                    })*
                }
            }
        }
    };
}

/// The student that a recipe starts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FewStepStudent<'a> {
    /// The key of the recipe that names it.
    pub key: &'static str,
    /// A model folder, a run folder, a safetensors file, `builtin:NAME`, or a name on the hub.
    pub reference: &'a str,
    /// Its steps, where they are not those that it was distilled for.
    pub steps: Option<usize>,
}

phase_recipe! {
    /// A few-step student that is taken for the data (2405.20750).
    Adversarial = "adversarial": AdversarialMethod, [adversarial: AdversarialConfig];
    /// Condition and few steps at once (2310.01407).
    Codi = "codi": CodiMethod, [codi: CodiConfig];
    /// Few steps (2303.01469, 2310.04378).
    Consistency = "consistency": ConsistencyMethod, [consistency: ConsistencyConfig];
    /// Only the condition, by ordinary diffusion training (2302.05543).
    Denoising = "denoising": DenoisingMethod;
    /// The teacher's distribution for a few-step student (2405.14867).
    Matching = "matching": MatchingMethod, [matching: MatchingConfig];
}

impl PhaseRecipe {
    /// Fills in what the recipe leaves to the program; for a run that is resumed, with what the
    /// recipe that it was started with has.
    pub fn complete(&mut self, started_with: Option<&Self>) {
        match started_with {
            None => {
                self.student_prediction.get_or_insert_default();
            }
            Some(started) => {
                self.weighting = self.weighting.or(started.weighting);
                self.student_prediction = self.student_prediction.or(started.student_prediction);
                self.w_embedding = self.w_embedding.or(started.w_embedding);
            }
        }
    }

    /// Checks all that can be checked without data and teacher.
    ///
    /// # Errors
    /// Names the key, what it is, and what it must be.
    pub fn validate(&self) -> Result<(), RecipeError> {
        within("updates", self.updates, 1..=UPDATES)?;
        probability("label_dropout", self.label_dropout)?;
        TeacherLora::check(&self.teacher_lora)?;
        self.w.map_or(Ok(()), GuidanceWeights::check)?;
        check_image_guidance(self.image_guidance)?;
        let guides_by_w = matches!(self.method, MethodName::Codi | MethodName::Consistency);
        if self.image_guidance.is_some() && self.w.is_none() && guides_by_w {
            return Err(RecipeError::new(
                "image_guidance",
                "`image_guidance` without `w`: the teacher is not guided then, so give both or neither",
            ));
        }
        check_w_embedding(self.w_embedding)?;
        self.check_precision()?;
        self.weighting
            .map_or(Ok(()), |weighting| weighting.check("weighting"))?;
        self.check_method()?;
        self.check_trained()?;
        self.check_lora()?;
        if let Some(FewStepStudent {
            key, reference: "", ..
        }) = self.student()
        {
            return Err(RecipeError::new(
                key,
                format!(
                    "`{key}` is missing: give the few-step student to start from, such as \"runs/distill/models/steps-1\""
                ),
            ));
        }
        self.optim.validate().map_err(|e| e.within("optim"))?;
        self.run.validate()
    }

    /// Checks the LoRA, and that the method can train them.
    fn check_lora(&self) -> Result<(), RecipeError> {
        let Some(lora) = &self.lora else {
            return Ok(());
        };
        let (_, method) = self.method(Control::default(), None);
        if !method.supports_lora() {
            return Err(RecipeError::new(
                "lora",
                "the method of this recipe trains no LoRA: remove [lora], or train the LoRA with `method = \"matching\"`, with `method = \"adversarial\"` or with the stages of guided distillation",
            ));
        }
        let checked = lora.validate();
        checked.map_err(|error| RecipeError::new("lora", error.to_string()))
    }

    /// The type of the teacher's weights that other networks have too: with LoRA those are all, and
    /// they stay as they are.
    pub fn shared_precision(&self) -> Precision {
        match self.lora {
            Some(_) => self.teacher_precision,
            None => Precision::F32,
        }
    }

    /// The model that the student starts from, and for how many steps, where the method needs one
    /// besides the teacher.
    pub fn student(&self) -> Option<FewStepStudent<'_>> {
        let (key, reference, steps) = match self.method {
            MethodName::Matching => {
                let matching = &self.matching;
                ("matching.student", &matching.student, matching.steps)
            }
            MethodName::Adversarial => {
                let adversarial = &self.adversarial;
                (
                    "adversarial.student",
                    &adversarial.student,
                    adversarial.steps,
                )
            }
            MethodName::Codi | MethodName::Consistency | MethodName::Denoising => return None,
        };
        Some(FewStepStudent {
            key,
            reference,
            steps,
        })
    }

    fn shared(&self, control: Control, student: Option<StartModel>) -> SharedSettings {
        SharedSettings {
            control,
            w: self.w,
            w_embedding: earlier_w_embedding(self.w_embedding),
            label_dropout: self.label_dropout,
            weighting: self.weighting,
            // Version 0.1.0, whose recipes do not say, kept what the teacher predicts.
            student_prediction: self
                .student_prediction
                .unwrap_or(StudentPrediction::Teacher),
            student,
            lr: self.optim.lr,
        }
    }

    /// The phase, for data with these control images, and with the [`student`](Self::student) that
    /// it starts from.
    pub fn phases(
        &self,
        conditions: Option<&Conditions>,
        student: Option<StartModel>,
    ) -> Vec<Phase> {
        let control = Control {
            spec: conditions.map(control_spec),
            new: self.controlnet,
            train: self.train,
        };
        let (name, method) = self.method(control, student);
        vec![Phase {
            name: name.into(),
            method,
            lora: self.lora.clone(),
            // Version 0.1.0 kept it, and its recipes say nothing of predictions.
            dropout: self.method == MethodName::Denoising || self.student_prediction.is_none(),
            teacher_precision: self.teacher_precision,
            optim: self.optim.clone(),
            optim_key: "optim",
            updates: self.updates,
        }]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::method::{Distance, OdeModel};
    use crate::recipe::parse;

    const RECIPE: &str = r#"
method = "codi"
seed = 1
teacher = "teacher"
updates = 10
train = "controlnet"
data = { kind = "idx", path = "data" }
condition = { kind = "bicubic", factor = 4 }
optim = { batch = 8, lr = 1e-4, ema = { decay = 0.999 } }
[codi]
ode_model = "base"
distance = { pseudo-huber = 1e-3 }
guidance_distance = { lpips = "alex.safetensors" }
error_weight = { min-snr = 5.0 }
"#;

    #[test]
    fn a_recipe_survives_its_file() {
        let recipe: PhaseRecipe = parse(RECIPE, "recipe.toml").expect("valid");
        assert_eq!(recipe.train, Trained::ControlNet);
        assert_eq!(recipe.codi.ode_model, OdeModel::Base);
        assert_eq!(recipe.codi.distance, Distance::PseudoHuber(1e-3));
        assert_eq!(recipe.validate(), Ok(()));
        let text = toml::to_string(&recipe).expect("TOML");
        assert_eq!(parse::<PhaseRecipe>(&text, "again"), Ok(recipe));
    }

    #[test]
    fn settings_that_cannot_work_are_named() {
        let wrong = |change: fn(&mut PhaseRecipe)| {
            let mut recipe: PhaseRecipe = parse(RECIPE, "recipe.toml").expect("valid");
            change(&mut recipe);
            recipe.validate().expect_err("refused").to_string()
        };
        assert!(wrong(|r| r.codi.intervals = 0).contains("intervals"));
        assert!(wrong(|r| r.codi.distance = Distance::PseudoHuber(0.0)).contains("pseudo-huber"));
        let noise = wrong(|r| r.codi.distance = Distance::Lpips("alex.safetensors".into()));
        assert!(noise.contains("consistency = \"image\""), "{noise}");
        assert!(wrong(|r| r.w = Some(GuidanceWeights::Range([2.0, 1.0]))).contains("`w`"));
        assert!(wrong(|r| r.image_guidance = Some(1.5)).contains("without `w`"));
        let both = wrong(|r| {
            r.codi.guidance_weight = 0.0;
            r.codi.consistency_weight = 0.0;
        });
        assert!(both.contains("not both be 0"), "{both}");
    }
}
