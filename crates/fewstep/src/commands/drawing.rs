//! Images from texts: what `sample`, `edit` and `inpaint` share.

use super::artist::reads_no_texts;
use crate::arguments::{self, GuidanceArgs, SamplerArgs, positive};
use crate::compute::{self, PrecisionArgs};
use crate::failure::{CliError, CliResult};
use crate::models;
use crate::output::ImageArgs;
use crate::progress;
use crate::report::plural;
use burn::tensor::Device;
use fewstep::{Canvas, TextGenerator, TextRequest, Texts};
use fewstep_formats::{Pipeline, TextEncoder};
use fewstep_kernels::memory;
use std::path::PathBuf;
use std::time::Instant;

/// How many images of so many classes, when nothing is said.
pub(crate) fn class_count(classes: usize) -> usize {
    (4 * classes).min(64)
}

/// What to draw, in words.
#[derive(clap::Args)]
pub(crate) struct TextArgs {
    /// What to draw; may be given several times, and the texts take turns.
    #[arg(long = "prompt", value_name = "TEXT")]
    prompts: Vec<String>,
    /// A file with one text a line, in place of --prompt.
    #[arg(long, value_name = "FILE", conflicts_with = "prompts")]
    prompts_file: Option<PathBuf>,
    /// What not to draw; only where guidance has two branches, that is, not for students.
    #[arg(long, value_name = "TEXT")]
    negative_prompt: Option<String>,
    /// Height and width of the images, such as 512x768 [default: those that the model was trained on].
    #[arg(long, value_name = "HxW", value_parser = size)]
    size: Option<[usize; 2]>,
}

impl TextArgs {
    /// For a model that knows no text.
    pub(crate) fn refuse_all(&self) -> CliResult {
        let given = [
            (!self.prompts.is_empty(), "--prompt"),
            (self.prompts_file.is_some(), "--prompts-file"),
            (self.negative_prompt.is_some(), "--negative-prompt"),
            (self.size.is_some(), "--size"),
        ];
        match given.iter().find(|(given, _)| *given) {
            None => Ok(()),
            Some((_, flag)) => Err(reads_no_texts(flag)),
        }
    }

    /// The one text of a model that draws from images, if it is given.
    pub(crate) fn single(&self) -> CliResult<Option<String>> {
        let needless = [
            (self.prompts_file.is_some(), "--prompts-file"),
            (self.negative_prompt.is_some(), "--negative-prompt"),
            (self.size.is_some(), "--size"),
            (self.prompts.len() > 1, "a second --prompt"),
        ];
        match needless.iter().find(|(given, _)| *given) {
            None => Ok(self.prompts.first().cloned()),
            Some((_, flag)) => Err(CliError::input(format!(
                "{flag} does not go with this model, which draws from images"
            ))),
        }
    }

    /// The names of the classes asked for, all where none is.
    fn class_names(&self, known: &[String], asked: &[String]) -> CliResult<Vec<String>> {
        let given = [
            (!self.prompts.is_empty(), "--prompt"),
            (self.prompts_file.is_some(), "--prompts-file"),
            (self.negative_prompt.is_some(), "--negative-prompt"),
        ];
        if let Some((_, flag)) = given.iter().find(|(given, _)| *given) {
            return Err(CliError::input(format!(
                "{flag} does not go with this model, which draws classes: give --class"
            )));
        }
        let find = |class: &String| {
            let index = arguments::find_class(class, known)?;
            Ok(known[index as usize].clone())
        };
        match asked.is_empty() {
            true => Ok(known.to_vec()),
            false => asked.iter().map(find).collect(),
        }
    }

    /// The texts that take turns, for a model that draws the `known` classes, or texts where there are none. `asked` is
    /// what --class says; none for verbs that do without.
    fn texts(&self, known: &[String], asked: Option<&[String]>) -> CliResult<Vec<String>> {
        match (known.is_empty(), asked) {
            (false, Some(asked)) => return self.class_names(known, asked),
            (false, None) => {
                return Err(CliError::input(
                    "this model draws classes, with `fewstep sample`: to change or fill in an image, give one that draws from texts",
                ));
            }
            (true, Some([_, ..])) => {
                return Err(CliError::input(
                    "--class does not go with this model, which draws from texts: give --prompt",
                ));
            }
            (true, _) => {}
        }
        let texts = match &self.prompts_file {
            None => self.prompts.clone(),
            Some(file) => {
                let text = std::fs::read_to_string(file).map_err(|error| {
                    CliError::input(format!("cannot read {}: {error}", file.display()))
                })?;
                let lines = text.lines().filter(|line| !line.trim().is_empty());
                lines.map(String::from).collect()
            }
        };
        match texts.is_empty() {
            false => Ok(texts),
            true => Err(CliError::input(
                "this model draws from texts: say what with --prompt, such as --prompt \"a lighthouse at night\", or --prompts-file",
            )),
        }
    }
}

/// Says what of a text the model does not read, if it is too long.
pub(super) fn warn_if_cut(text_encoder: &TextEncoder, text: &str) {
    if let Some(cut) = text_encoder.tokens(text).cut {
        let length = text_encoder.length();
        eprintln!(
            "warning: the model reads {length} tokens of a text, start and end included, so this is cut off: {cut}"
        );
    }
}

fn size(given: &str) -> Result<[usize; 2], String> {
    let sides = given.split_once('x');
    let sides = sides.and_then(|(h, w)| Some([h.parse().ok()?, w.parse().ok()?]));
    sides.ok_or_else(|| "expected height and width such as 512x768".into())
}

/// Everything that is asked: the flags of all verbs that draw.
#[derive(clap::Args)]
pub(crate) struct Job {
    /// The model: the folder of a latent diffusion model, or its name on the hub; where no text is needed, a model folder, a .safetensors
    /// file, a run folder, or builtin:NAME too.
    #[arg(long)]
    pub(crate) model: String,
    #[command(flatten)]
    pub(crate) text: TextArgs,
    /// Steps; by default those that a student was distilled for, 32 for a teacher.
    #[arg(long, value_parser = positive)]
    pub(crate) steps: Option<usize>,
    #[command(flatten)]
    pub(crate) guidance: GuidanceArgs,
    #[command(flatten)]
    pub(crate) sampler: SamplerArgs,
    /// How many images [default: one of each text or image; 4 of each class, at most 64].
    #[arg(long, value_parser = positive)]
    pub(crate) count: Option<usize>,
    /// All randomness.
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    /// Number of the first image: go on where another call stopped.
    #[arg(long, default_value_t = 0)]
    pub(crate) first: u64,
    #[command(flatten)]
    pub(crate) precision: PrecisionArgs,
    #[command(flatten)]
    pub(crate) images: ImageArgs,
    /// Images per network call [default: 64; 16 from images, 1 from texts].
    #[arg(long, value_parser = positive)]
    pub(crate) batch: Option<usize>,
    /// Print the summary as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

impl Job {
    /// The device, which computes as precisely as it is asked to.
    pub(crate) fn device(&self) -> CliResult<Device> {
        let device = compute::device(None)?;
        self.precision.choose(&device)?;
        Ok(device)
    }

    /// Loads the latent model and draws from texts, as [`draw`](Self::draw) does.
    pub(crate) fn run(
        &self,
        canvas: impl FnOnce([usize; 2], usize) -> CliResult<Canvas>,
    ) -> CliResult {
        let device = self.device()?;
        let folder = models::find(&self.model, self.steps)?;
        let pipeline = models::load_pipeline(&folder, &device)?;
        self.draw(pipeline, None, canvas, &device)
    }

    /// Draws texts, or where the model knows classes those that are asked for, on what `canvas` makes for the size and the
    /// channels of the images, and reports.
    pub(crate) fn draw(
        &self,
        pipeline: Pipeline,
        classes: Option<&[String]>,
        canvas: impl FnOnce([usize; 2], usize) -> CliResult<Canvas>,
        device: &Device,
    ) -> CliResult {
        let Pipeline {
            model,
            vae,
            text_encoder,
            ..
        } = pipeline;
        let known = text_encoder.classes();
        let texts = self.text.texts(known, classes)?;
        let generator = TextGenerator::new(model, vae, device)?;
        let size = self.text.size.unwrap_or_else(|| generator.usual_size());
        let canvas = canvas(size, generator.channels())?;
        let count = match known.is_empty() {
            true => texts.len(),
            false => class_count(texts.len()),
        };
        let request = self.request(&generator, &texts, count, size, canvas)?;
        for warning in generator.check(&request)? {
            eprintln!("warning: {warning}");
        }
        self.warn_of_long_texts(&text_encoder, &texts);
        self.images.prepare()?;
        let started = Instant::now();
        let bar = progress::bar("drawing", request.prompts.len() as u64, "images");
        let texts = Texts::read(text_encoder, &request);
        memory::give_back();
        let images = generator.draw(&request, &texts, &mut |done| bar.set_position(done as u64))?;
        bar.finish_and_clear();
        let seconds = started.elapsed().as_secs_f64() / images.len() as f64;
        let columns = (images.len() as f64).sqrt().ceil() as usize;
        let parameters = |index: usize| Some(self.parameters(&generator, &request, index));
        self.images
            .write(&images, self.first, columns, parameters)?;
        self.report(&generator, &request, seconds);
        Ok(())
    }

    fn request(
        &self,
        generator: &TextGenerator,
        texts: &[String],
        count: usize,
        size: [usize; 2],
        canvas: Canvas,
    ) -> CliResult<TextRequest> {
        let count = self.count.unwrap_or(count);
        let turns = self.first..self.first + count as u64;
        let of_turn = |turn: u64| texts[(turn % texts.len() as u64) as usize].clone();
        let latents = generator.generator();
        Ok(TextRequest {
            prompts: turns.map(of_turn).collect(),
            negative: self.text.negative_prompt.clone().unwrap_or_default(),
            size,
            first: self.first,
            seed: self.seed,
            steps: self.steps.unwrap_or_else(|| latents.default_steps()),
            sampler: self.sampler.choose(latents)?,
            w: self.guidance.w(),
            batch: self.batch.unwrap_or(1),
            canvas,
            controls: None,
        })
    }

    fn warn_of_long_texts(&self, text_encoder: &TextEncoder, texts: &[String]) {
        for text in texts.iter().chain(&self.text.negative_prompt) {
            warn_if_cut(text_encoder, text);
        }
    }

    /// The text that tools for Stable Diffusion look for inside an image.
    fn parameters(&self, generator: &TextGenerator, request: &TextRequest, index: usize) -> String {
        let recipe = &generator.generator().model().recipe;
        let mut text = request.prompts[index].clone();
        if !request.negative.is_empty() {
            text.push_str(&format!("\nNegative prompt: {}", request.negative));
        }
        let w = arguments::effective_w(recipe, request.w);
        let guidance = w.map(|w| format!(", CFG scale: {}", arguments::tidy(1.0 + w)));
        let strength = match request.canvas {
            Canvas::Edit { strength, .. } => format!(", Denoising strength: {strength}"),
            Canvas::Blank | Canvas::Fill { .. } => String::new(),
        };
        let [height, width] = request.size;
        text.push_str(&format!(
            "\nSteps: {}, Sampler: {}{}, Seed: {}, Size: {width}x{height}, Model: {}{strength}, Image: {}, Version: fewstep {}",
            request.steps,
            request.sampler.name(),
            guidance.unwrap_or_default(),
            request.seed,
            self.model_name(),
            request.first + index as u64,
            env!("CARGO_PKG_VERSION")
        ));
        text
    }

    fn model_name(&self) -> String {
        let name = std::path::Path::new(&self.model).file_name();
        name.map_or(self.model.clone(), |n| n.to_string_lossy().into())
    }

    fn report(&self, generator: &TextGenerator, request: &TextRequest, seconds: f64) {
        let recipe = &generator.generator().model().recipe;
        let w = arguments::effective_w(recipe, request.w);
        let calls = generator
            .generator()
            .network_calls(request.sampler, request.steps, request.w);
        let place = self.images.place();
        if self.json {
            let summary = serde_json::json!({
                "model": self.model,
                "sampler": request.sampler.name(),
                "steps": request.steps,
                "w": w,
                "guidance_scale": w.map(|w| arguments::tidy(1.0 + w)),
                "seed": request.seed,
                "first": request.first,
                "samples": request.prompts.len(),
                "size": request.size,
                "network_calls": calls,
                "seconds_per_image": seconds,
                "out": place,
            });
            println!("{summary}");
            return;
        }
        let guidance = w.map(|w| format!(", {}", arguments::both_conventions(w)));
        println!(
            "{}: {}, {} sampler, {}{}, seed {}; {} and {seconds:.3} s per image",
            place.display(),
            plural(request.prompts.len(), "image"),
            request.sampler.name(),
            plural(request.steps, "step"),
            guidance.unwrap_or_default(),
            request.seed,
            plural(calls, "network call"),
        );
    }
}
