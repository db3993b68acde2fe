//! Distribution matching between two halvings: a run of its own, whose folder is in that of the first
//! halvings.

use super::training::Training;
use crate::commands::shared::plan;
use crate::commands::shared::run_folder::RunFolder;
use crate::error::{CliError, CliResult, IntoCliResult};
use crate::numbers::plural;
use fewstep_diffusion::Guidance;
use fewstep_distill::World;
use fewstep_distill::method::StartModel;
use fewstep_distill::recipe::{DistillRecipe, PhaseRecipe, default_w_embedding, parse_with};
use fewstep_distill::run::{Phase, Run, is_run};
use fewstep_formats::Model;
use std::path::{Path, PathBuf};

const RECIPE: &str = include_str!("../../../../../recipes/fashion-mnist/quickstart-matching.toml");
const ORIGIN: &str = "the matching recipe of quickstart";

/// The matched student of a quickstart.
pub(super) struct Matching {
    pub(super) recipe: PhaseRecipe,
    /// The folder of its run.
    pub(super) folder: PathBuf,
    /// Its steps, which are those of the student that it starts from.
    pub(super) steps: usize,
    /// The folder of the models of all students.
    pub(super) models: PathBuf,
    /// The name of the phase that leaves the student it starts from.
    start: String,
}

impl Matching {
    /// The recipe with what it overrides, in the folder of a quickstart with these phases.
    ///
    /// # Errors
    /// When the recipe cannot be used there.
    pub(super) fn new(
        overrides: &[String],
        seed: Option<u64>,
        folder: &Path,
        (halved, phases): (&DistillRecipe, &[Phase]),
    ) -> CliResult<Self> {
        let original: PhaseRecipe = parse_with(RECIPE, ORIGIN, &[]).input_error()?;
        let mut recipe: PhaseRecipe = parse_with(RECIPE, ORIGIN, overrides)?;
        recipe.seed = seed.unwrap_or(recipe.seed);
        let refused = |reason: String| Err(CliError::input(format!("{ORIGIN}: {reason}")));
        let own = |recipe: &PhaseRecipe| {
            let student = recipe.matching.student.clone();
            (
                recipe.method,
                recipe.teacher.clone(),
                recipe.data.clone(),
                student,
            )
        };
        if own(&recipe) != own(&original) {
            return Err(CliError::input(
                "quickstart matches its own student with its own teacher and images: use `fewstep distill RECIPE.toml` for others",
            ));
        }
        if recipe.run.mirror.is_some() {
            return refused("give `run.mirror` with --set, which has it copied too".into());
        }
        let models = |phase: &Phase| {
            phase
                .method
                .steps()
                .map(|steps| (steps, phase.name.clone()))
        };
        let students: Vec<(usize, String)> = phases.iter().filter_map(models).collect();
        let wanted = recipe.matching.steps;
        let Some((steps, start)) = students.iter().find(|student| Some(student.0) == wanted) else {
            let all: Vec<String> = students
                .iter()
                .map(|(steps, _)| steps.to_string())
                .collect();
            return refused(format!(
                "`matching.steps` must be the steps of a student that the halvings leave ({}), or give --plain",
                all.join(", ")
            ));
        };
        recipe.matching.student = folder.join("models").join(start).display().to_string();
        recipe.w = recipe.w.or(halved.w);
        if let Err(error) = recipe.validate() {
            return refused(error.to_string());
        }
        Ok(Self {
            folder: Self::folder(folder, *steps),
            models: folder.join("models"),
            steps: *steps,
            start: start.clone(),
            recipe,
        })
    }

    /// The folder of the run of the students that are halved from it.
    pub(super) fn onward(&self) -> PathBuf {
        self.folder.join("halved")
    }

    /// The folder that its model has next to those of the other students.
    pub(super) fn model(&self) -> PathBuf {
        self.models.join(format!("matched-{}", self.start))
    }

    /// The folder of its run, in that of a quickstart, for a student of so many steps.
    pub(super) fn folder(quickstart: &Path, steps: usize) -> PathBuf {
        quickstart.join(format!("matched-{steps}"))
    }

    /// What the matched student is for.
    pub(super) fn guidance(&self) -> Guidance {
        self.recipe.w.map_or(Guidance::None, |w| w.guidance())
    }

    /// What it is called in sentences.
    pub(super) fn name(&self) -> String {
        format!("matched student of {}", plural(self.steps, "step"))
    }

    /// Trains the matched student from that of the halvings, `halved` with its models, and leaves it
    /// next to them.
    pub(super) fn train(
        &mut self,
        teacher: &Model,
        (halved, models): (&Run, &[Model]),
        resume: bool,
        training: &mut Training<'_>,
    ) -> CliResult<Model> {
        let is_start = |phase: &Phase| phase.name == self.start;
        let place = halved.phases.iter().position(is_start);
        let start = place.and_then(|place| models.get(place));
        let start = start.cloned().map(StartModel::from);
        // The run of the halvings may have been stopped before this one began.
        let resume = resume && is_run(&self.folder);
        let folder = RunFolder::open(&self.folder, resume, None, &World::default())?;
        let stored = folder.stored::<PhaseRecipe>()?;
        if let Some(stored) = &stored
            && is_run(&self.onward())
            && stored.updates != self.recipe.updates
        {
            return Err(CliError::input(format!(
                "the {} has students that are halved from it, and was begun with {} updates: it cannot have {} now",
                self.name(),
                stored.updates,
                self.recipe.updates
            )));
        }
        self.recipe.complete(stored.as_ref());
        let embedding = &mut self.recipe.w_embedding;
        embedding.get_or_insert(default_w_embedding(false));
        let recipe = &self.recipe;
        let phases = |recipe: &PhaseRecipe| -> CliResult<Vec<Phase>> {
            Ok(recipe.phases(None, start.clone()))
        };
        let run = Run {
            folder: self.folder.clone(),
            seed: recipe.seed,
            phases: phases(recipe)?,
            examples: halved.examples.clone(),
            components: None,
            flip: recipe.flip,
            config: recipe.run.clone(),
            device: halved.device.clone(),
            world: World::default(),
        };
        plan::check_memory(&run, teacher)?;
        let inputs = folder.begin(recipe, &phases, &run, teacher)?;
        let mut trained = training.train(&run, (teacher, &inputs), resume)?;
        let Some(matched) = trained.pop() else {
            return Err(CliError::Work(anyhow::anyhow!("{ORIGIN} has no phase")));
        };
        matched.save(&self.model()).input_error()?;
        Ok(matched)
    }
}
