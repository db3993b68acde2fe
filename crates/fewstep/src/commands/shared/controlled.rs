//! What the commands that generate from control images share.

use super::generate::{GenerateArgs, columns, warn};
use super::image_files::{ImageArgs, SheetArgs};
use super::inputs::InputArgs;
use super::prompts::{reads_no_prompts, texts};
use super::summary::Summary;
use crate::error::{CliError, CliResult};
use crate::tasks::command_of;
use fewstep_data::image::{Image, read_size};
use fewstep_diffusion::Task;
use fewstep_generate::{ControlImage, Generator, ImageRequest, Init, Request, Subject, find_class};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The flags of every command that generates from control images.
#[derive(clap::Args)]
pub(crate) struct ControlledArgs {
    #[command(flatten)]
    pub(crate) generate: GenerateArgs,
    /// The control image; may be given several times.
    #[arg(long = "image", value_name = "FILE", required = true)]
    pub(crate) images: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) inputs: InputArgs,
    #[command(flatten)]
    pub(crate) controlnet: ControlNetArgs,
    /// The prompt, for models that generate from prompts; for `instruct` the instruction.
    #[arg(long, value_name = "TEXT")]
    pub(crate) prompt: Option<String>,
    /// What not to generate; only for teachers with classifier-free guidance, as students have only
    /// one branch.
    #[arg(long, value_name = "TEXT")]
    pub(crate) negative_prompt: Option<String>,
    /// The class to generate, by name or number, for models with classes [default: no class].
    #[arg(long, value_name = "CLASS")]
    pub(crate) class: Option<String>,
    #[command(flatten)]
    pub(crate) files: ImageArgs,
    #[command(flatten)]
    pub(crate) sheet: SheetArgs,
    /// Other files that the command reads.
    #[arg(skip)]
    pub(crate) more_inputs: Vec<PathBuf>,
}

/// A ControlNet other than the model's own.
#[derive(clap::Args)]
pub(crate) struct ControlNetArgs {
    /// Use the ControlNet of this model folder instead of the model's own, or a ControlNetModel of
    /// diffusers. It must have been trained on the same base.
    #[arg(long, alias = "adapter", value_name = "FOLDER")]
    pub(crate) controlnet: Option<PathBuf>,
}

/// What the image files of a command line become.
pub(crate) struct Source {
    /// The image to show in the sheet.
    pub(crate) shown: Image,
    /// The alpha channel that its results get, for images that are enlarged.
    pub(crate) alpha: Option<Image>,
    /// What the image to generate starts from.
    pub(crate) init: Init,
    /// The control image, unless it is made from the masked image.
    pub(crate) control: Option<Arc<ControlImage>>,
}

impl Source {
    /// An image that is the control image itself.
    pub(crate) fn plain(shown: Image) -> Self {
        Self {
            init: Init::Noise,
            alpha: None,
            control: Some(Arc::new((&shown).into())),
            shown,
        }
    }

    /// An image that the network sees next to the noise, with its guidance scale where that is not
    /// the model's own.
    pub(crate) fn seen(shown: Image, scale: Option<f64>) -> Self {
        Self {
            init: Init::Instruct {
                image: Arc::new(shown.clone()),
                scale,
            },
            alpha: None,
            control: None,
            shown,
        }
    }
}

impl ControlledArgs {
    /// Generates from all control images. `prepare` makes the source of the n-th file, given the
    /// channels of the model's images and of its control images; it has 0 of the latter where it
    /// sees source images.
    pub(crate) fn run(
        &self,
        task: Task,
        prepare: impl Fn(usize, &Path, [usize; 2]) -> CliResult<Source>,
    ) -> CliResult {
        let inputs = self.images.iter().chain(&self.more_inputs);
        let inputs: Vec<&Path> = inputs.map(PathBuf::as_path).collect();
        self.files.check()?;
        self.sheet.check(&self.files)?;
        let generator = self.load(task)?;
        let control = generator.model().recipe.control;
        let channels = [
            generator.image_shape().channels,
            control.map_or(0, |control| control.shape[0]),
        ];
        let each = self.generate.count.unwrap_or(1);
        // Before large ones are decoded. What is wrong with others, and with pipes, is said then.
        let files = self.images.iter().filter(|file| file.is_file());
        let sizes: Vec<_> = files.filter_map(|file| read_size(file).ok()).collect();
        self.check_memory(&generator, &sizes, each)?;
        let sources = (0..).zip(&self.images);
        let sources = sources.map(|(n, file)| prepare(n, file, channels));
        let sources = sources.collect::<CliResult<Vec<Source>>>()?;
        let size = |source: &Source| [source.shown.shape.height, source.shown.shape.width];
        let sizes: Vec<_> = sources.iter().map(size).collect();
        self.check_memory(&generator, &sizes, each)?;
        let images = self.images(&generator, &sources, each)?;
        let request = Request {
            negative: self.negative_prompt.clone().unwrap_or_default(),
            ..self.generate.request(&generator, images)?
        };
        warn(&generator, &request)?;
        self.files
            .check_numbered(0, request.images.len(), &inputs)?;
        let mut generated = self.generate.generate(&generator, &request)?;
        for (source, images) in sources.iter().zip(generated.images.chunks_mut(each)) {
            if let Some(alpha) = &source.alpha {
                images
                    .iter_mut()
                    .for_each(|image| *image = image.with_alpha(alpha));
            }
        }
        let model = &self.generate.model;
        let columns = columns(generated.images.len(), each);
        self.files.write(&generated.images, 0, columns, |index| {
            let is_latent = generator.is_latent();
            is_latent.then(|| self.generate.parameters(&generator, &request, index))
        })?;
        let shown = sources.iter().map(|source| source.shown.clone());
        self.sheet
            .write(&shown.collect::<Vec<Image>>(), &generated.images)?;
        let place = self.files.place();
        let summary = Summary::new(model, &generator, &request, &generated, &place);
        self.generate
            .report(summary.with_control_images(sources.len()))
    }

    /// Refuses control images of these heights and widths that are too large for the memory of this
    /// machine, and says which size is not.
    fn check_memory(&self, generator: &Generator, sizes: &[[usize; 2]], each: usize) -> CliResult {
        let channels = generator
            .source_shape()
            .map_or(0, |[channels, ..]| channels);
        let Some(&largest) = sizes.iter().max_by_key(|[h, w]| h * w) else {
            return Ok(());
        };
        let images = (sizes.len() as u64).saturating_mul(each as u64);
        let fits = |[height, width]: [usize; 2]| -> CliResult {
            let shape = generator.shape_for([channels, height, width])?;
            let size = Some([shape.height, shape.width]);
            self.generate.check_memory(generator, images, size)
        };
        // Another size than the model's is another error.
        generator.shape_for([channels, largest[0], largest[1]])?;
        let Err(error) = fits(largest) else {
            return Ok(());
        };
        let smaller = (1..32).map(|shift| {
            let part = 0.8f64.powi(shift);
            generator.fitting(largest.map(|side| (side as f64 * part) as usize))
        });
        let mut smaller = smaller.filter(|size| *size != largest);
        Err(match smaller.find(|size| fits(*size).is_ok()) {
            Some([height, width]) => error.context(&format!(
                "a control image of {}x{} pixels is too large, one of {height}x{width} would do",
                largest[0], largest[1]
            )),
            None => error,
        })
    }

    /// `each` images of every source, numbered in order.
    fn images(
        &self,
        generator: &Generator,
        sources: &[Source],
        each: usize,
    ) -> CliResult<Vec<ImageRequest>> {
        let subject = match (&self.class, &self.prompt) {
            (Some(class), _) => {
                Subject::Class(find_class(class, &generator.model().recipe.classes)?)
            }
            (None, Some(prompt)) => Subject::Prompt(prompt.clone()),
            (None, None) => Subject::Any,
        };
        let mut images = vec![];
        for source in sources {
            for _ in 0..each {
                images.push(ImageRequest {
                    subject: subject.clone(),
                    init: source.init.clone(),
                    control: source.control.clone(),
                    ..ImageRequest::new(self.generate.seed, images.len() as u64)
                });
            }
        }
        Ok(images)
    }

    /// The model for this task, with the ControlNet of --controlnet.
    fn load(&self, task: Task) -> CliResult<Generator> {
        // Without one, images are asked for with an empty prompt.
        let prompt = self.prompt.clone().unwrap_or_default();
        let texts = texts(&[prompt], self.negative_prompt.as_deref());
        let controlnet = self.controlnet.controlnet.as_deref();
        let generator = self.generate.load(controlnet, texts)?;
        let flags = [
            (self.prompt.is_some(), "--prompt"),
            (self.negative_prompt.is_some(), "--negative-prompt"),
        ];
        if let Some((_, flag)) = flags.iter().find(|(is_set, _)| *is_set)
            && !generator.takes_prompts()
        {
            return Err(reads_no_prompts(flag));
        }
        let control = generator.model().recipe.control.map(|control| control.task);
        match (control, generator.edits_by_instruction()) {
            (None, true) if task == Task::Instruct => Ok(generator),
            (None, true) => Err(CliError::input(format!(
                "this model edits images by instruction: use `fewstep {}`",
                command_of(Task::Instruct)
            ))),
            (Some(_), true) => Err(CliError::input(
                "a ControlNet does not go with this model, whose network sees the image to edit",
            )),
            (Some(trained), false) if trained == task => Ok(generator),
            (Some(trained), false) => Err(CliError::input(format!(
                "this model was not trained for `fewstep {}`: use `fewstep {}`",
                command_of(task),
                command_of(trained)
            ))),
            (None, false) => Err(CliError::input(
                "this model takes no control image: distil one with `method = \"codi\"`, or give a ControlNet for it with --controlnet",
            )),
        }
    }
}
