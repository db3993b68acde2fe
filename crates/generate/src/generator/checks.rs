//! Checks of requests against the model.

use super::Generator;
use crate::{GenerateError, ImageRequest, Init, Request, Subject};
use fewstep_data::ImageShape;
use fewstep_diffusion::limits::{IMAGE_SIDE, within};
use fewstep_diffusion::sampler::{Sampler, SamplerConfig};
use fewstep_diffusion::{DistilledFor, Guidance, RecipeError, Role, Warning};
use fewstep_formats::check_clip_skip;
use fewstep_nn::ExtraInput;

impl Generator {
    /// Checks a request against the model.
    ///
    /// # Errors
    /// When they contradict each other; what is merely untrained comes back as warnings, each once.
    pub fn check(&self, request: &Request) -> Result<Vec<Warning>, GenerateError> {
        let recipe = &self.model.recipe;
        // A student has learnt guidance away from the empty prompt.
        if !request.negative.is_empty() && recipe.guidance != Guidance::ClassifierFree {
            return Err(GenerateError::NoNegative);
        }
        let (sampler, steps) = (request.sampler, request.steps);
        let mut warnings = self.check_sampling(sampler, steps, None)?;
        for image in &request.images {
            self.check_subject(&image.subject)?;
            self.check_clip_skip(image)?;
            self.check_init(image, request)?;
            for warning in recipe.check(DistilledFor::needed_by(sampler), steps, image.w)? {
                if !warnings.contains(&warning) {
                    warnings.push(warning);
                }
            }
        }
        Ok(warnings)
    }

    /// Checks a sampler, a number of steps and a guidance weight against the model.
    ///
    /// # Errors
    /// When they contradict each other; what is merely untrained comes back as warnings.
    pub fn check_sampling(
        &self,
        sampler: SamplerConfig,
        steps: usize,
        w: Option<f64>,
    ) -> Result<Vec<Warning>, GenerateError> {
        sampler.grid(self.denoiser.schedule(), steps)?;
        self.check_sampler(sampler)?;
        Ok(self
            .model
            .recipe
            .check(DistilledFor::needed_by(sampler), steps, w)?)
    }

    /// Students of stage two have one grid. Only DDIM on the papers' grid is the same as their
    /// sampler.
    fn check_sampler(&self, asked: SamplerConfig) -> Result<(), GenerateError> {
        let Role::Student { sampler, .. } = self.model.recipe.role else {
            return Ok(());
        };
        let trained = match sampler {
            DistilledFor::Deterministic | DistilledFor::Consistency => Sampler::Deterministic,
            DistilledFor::Stochastic => Sampler::Stochastic,
            DistilledFor::Any | DistilledFor::Encoder => return Ok(()),
        };
        match DistilledFor::needed_by(asked) {
            DistilledFor::Any => Err(GenerateError::NotForStudents {
                trained: trained.plain_name(),
                asked: asked.sampler.plain_name(),
            }),
            _ => Ok(()),
        }
    }

    /// Checks the class or prompt of an image.
    ///
    /// # Errors
    /// When the model cannot generate it.
    pub(crate) fn check_subject(&self, subject: &Subject) -> Result<(), GenerateError> {
        let recipe = &self.model.recipe;
        match (subject, self.is_latent()) {
            (Subject::Prompt(_), false) => Err(GenerateError::NoPrompts),
            (Subject::Prompt(_), true) if !self.takes_prompts() => Err(GenerateError::NoPrompts),
            (Subject::Class(class), false) => Ok(recipe.check_class(*class)?),
            (Subject::Class(_), true) if self.takes_prompts() => Err(GenerateError::NoClasses),
            (Subject::Class(class), true) => {
                let classes = self.classes().len();
                match (*class as usize) < classes {
                    true => Ok(()),
                    false => Err(GenerateError::Recipe(RecipeError::UnknownClass {
                        asked: *class,
                        classes,
                    })),
                }
            }
            (Subject::Any, false) => {
                let has_null = self.model.network.config().has_null_class();
                match recipe.classes.is_empty() || has_null {
                    true => Ok(()),
                    false => Err(GenerateError::NoNullClass),
                }
            }
            _ => Ok(()),
        }
    }

    fn check_clip_skip(&self, image: &ImageRequest) -> Result<(), GenerateError> {
        check_clip_skip(self.clip_skip(image), self.most_skipped()).map_err(GenerateError::ClipSkip)
    }

    fn check_init(&self, image: &ImageRequest, request: &Request) -> Result<(), GenerateError> {
        let control = self.model.recipe.control;
        match (&image.init, self.extra_input()) {
            (Init::Inpaint { .. }, Some(ExtraInput::MaskedImage))
            | (Init::Instruct { .. }, Some(ExtraInput::SourceImage))
            | (Init::Noise | Init::Image { .. }, None) => {}
            (_, Some(extra)) => return Err(GenerateError::needs(extra)),
            (Init::Inpaint { .. }, None) if self.inpaints_by_control() => {}
            (Init::Inpaint { .. }, None) => return Err(GenerateError::NotForInpainting),
            (Init::Instruct { .. }, None) => return Err(GenerateError::NotForInstruct),
        }
        let scale = image.init.image_scale();
        self.model.recipe.check_image_guidance(scale)?;
        if let (Some(control), None) = (control, self.control_shape(image)) {
            let task = control.task;
            return Err(GenerateError::NeedsControl { task });
        }
        if let (Init::Image { .. }, Sampler::Stochastic) = (&image.init, request.sampler.sampler) {
            return Err(GenerateError::EditStochastic);
        }
        if let Init::Inpaint { image, mask } = &image.init {
            let [image, mask] = [image, mask].map(|i| [i.shape.height, i.shape.width]);
            if image != mask {
                return Err(GenerateError::InitSize {
                    what: "mask",
                    got: mask,
                    expected: image,
                });
            }
        }
        image.init.check(self.shape_of(image, request)?)
    }

    /// Shape of an image: from its control or source image or the request, else that of the training images.
    pub(super) fn shape_of(
        &self,
        image: &ImageRequest,
        request: &Request,
    ) -> Result<ImageShape, GenerateError> {
        let source = match &image.init {
            Init::Instruct { image, .. } => Some(image.shape),
            _ => None,
        };
        let source = source.map(|shape| [shape.channels, shape.height, shape.width]);
        if let Some(control) = self.control_shape(image).or(source) {
            let shape = self.images_of(self.maps_for(control)?);
            let [height, width] = request.size.unwrap_or([shape.height, shape.width]);
            return match [height, width] == [shape.height, shape.width] {
                true => Ok(shape),
                false => Err(GenerateError::Control {
                    given: control,
                    reason: format!(
                        "a size of {height}x{width} was requested, but the size follows from that of the control image"
                    ),
                }),
            };
        }
        let usual = self.image_shape();
        let [height, width] = request.size.unwrap_or([usual.height, usual.width]);
        within("height", height, 1..=IMAGE_SIDE)?;
        within("width", width, 1..=IMAGE_SIDE)?;
        let multiple = self.size_multiple();
        match [height, width].iter().all(|side| side % multiple == 0) {
            true => Ok(ImageShape {
                height,
                width,
                ..usual
            }),
            false => Err(GenerateError::Size {
                size: [height, width],
                multiple,
            }),
        }
    }

    /// Shape of the noise that an image starts from.
    pub(super) fn start_shape(
        &self,
        image: &ImageRequest,
        request: &Request,
    ) -> Result<[usize; 3], GenerateError> {
        let ImageShape { height, width, .. } = self.shape_of(image, request)?;
        let [channels, ..] = self.model.recipe.resolution;
        let factor = self.factor();
        Ok([channels, height / factor, width / factor])
    }

    /// By how much latents are smaller than images; 1 for pixel models.
    pub(super) fn factor(&self) -> usize {
        self.latent.as_ref().map_or(1, |latent| latent.vae.factor())
    }
}
