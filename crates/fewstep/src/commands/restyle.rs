//! `fewstep restyle`: an image of one class or prompt becomes one of another.

use super::shared::guidance::{GuidanceListArgs, both_conventions};
use super::shared::inputs::InputArgs;
use super::shared::loras::LoadArgs;
use super::shared::models;
use super::shared::prompts::{texts, warn_if_cut};
use crate::compute::{self, PrecisionArgs};
use crate::error::{CliError, CliResult};
use crate::memory::{self, MemoryArgs};
use crate::numbers::plural;
use crate::parsers::{number, steps};
use crate::{output, progress};
use burn::tensor::Device;
use fewstep_data::ImageShape;
use fewstep_data::image::{self, Image};
use fewstep_diffusion::sampler::Sampler;
use fewstep_generate::{
    KeepEncoder, LoadOptions, RestyleError, RestyleRequest, Restyler, Subject, find_class,
};
use fewstep_kernels::device::Placement;
use fewstep_kernels::memory::Predicted;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Turn images of one class into images of another.
///
/// The images are encoded to noise as the first class and decoded as the second.
///
/// For models that generate from prompts, --from says what the images show and --to what they
/// become.
///
/// The encoder and the decoder are students distilled for it (a student of stage one can be both).
/// With --teacher the teacher does both, with many steps of DDIM; given students too, it has rows
/// of its own below theirs. Each row shows the image, then one result for each w: the larger w, the
/// stronger the effect.
///
/// Example: fewstep restyle --teacher builtin:fashion-mnist-teacher --image sneaker.png --from
/// Sneaker --to "Ankle boot" --w 0,1,3 --out boots.png
///
/// Example: fewstep restyle --encoder runs/encoder --decoder runs/sd15 --image apple.png --from "a
/// red apple" --to "a lemon" --w 2,6
#[derive(clap::Args)]
#[command(group = clap::ArgGroup::new("models").required(true).multiple(true).args(["encoder", "teacher"]))]
pub(crate) struct Args {
    /// The image to restyle; may be given several times.
    #[arg(long = "image", value_name = "FILE", required = true)]
    images: Vec<PathBuf>,
    #[command(flatten)]
    inputs: InputArgs,
    /// The class of the images, by name or number, or a prompt that says what they show.
    #[arg(long, value_name = "CLASS|PROMPT")]
    from: String,
    /// The class or the prompt of what they become.
    #[arg(long, value_name = "CLASS|PROMPT")]
    to: String,
    /// The distilled encoder.
    #[arg(long, value_name = "MODEL", requires = "decoder")]
    encoder: Option<String>,
    /// The distilled decoder: a student for the deterministic sampler.
    #[arg(long, value_name = "MODEL", requires = "encoder")]
    decoder: Option<String>,
    /// Steps of the encoder, and of the decoder [default: those that they were distilled for].
    #[arg(long, value_parser = steps, requires = "encoder")]
    steps: Option<usize>,
    /// A teacher that does both with DDIM.
    #[arg(long, value_name = "MODEL")]
    teacher: Option<String>,
    /// DDIM steps of the teacher in each direction.
    #[arg(long, value_name = "STEPS", default_value = "64", value_parser = steps, requires = "teacher")]
    teacher_steps: usize,
    /// Guidance weight w for encoding [default: 0, or the nearest that the encoder was distilled
    /// for].
    #[arg(long, value_name = "W", value_parser = number, allow_negative_numbers = true)]
    w_encode: Option<f64>,
    #[command(flatten)]
    guidance: GuidanceListArgs,
    #[command(flatten)]
    load: LoadArgs,
    #[command(flatten)]
    precision: PrecisionArgs,
    #[command(flatten)]
    memory: MemoryArgs,
    /// The image file to write (PNG, JPEG or WebP): a row for each image.
    #[arg(long, value_name = "FILE", default_value = "restyled.png")]
    out: PathBuf,
}

/// An encoder and a decoder: two students, or a teacher for both.
struct Pair {
    name: &'static str,
    /// Encoder and decoder in the words of the command line.
    labels: [String; 2],
    restyler: Restyler,
    request: RestyleRequest,
}

pub(crate) fn run(args: Args) -> CliResult {
    output::prepare_image(&args.out)?;
    let device = compute::device(None)?;
    args.memory.choose();
    let mut pairs = args.pairs(&device)?;
    let shape = common_shape(&pairs)?;
    let images = args.images.iter();
    let images = images.map(|file| read(args.inputs, file, shape));
    let images = images.collect::<CliResult<Vec<_>>>()?;
    for pair in &mut pairs {
        pair.request.images = images.clone();
    }
    check_memory(&pairs, &device)?;

    let columns = pairs[0].request.w.clone();
    let started = Instant::now();
    let passes: usize = pairs.iter().map(Pair::passes).sum();
    let bar = progress::bar("restyling", passes as u64, "passes");
    let results = pairs.iter().map(|pair| {
        let before = bar.position();
        let made = pair.restyler.restyle(&pair.request, &mut |step| {
            bar.set_position(before + step.passes as u64);
            ControlFlow::Continue(())
        });
        bar.set_position(before + pair.passes() as u64);
        made.map_err(|error| pair.refuse(error))
    });
    let results = results.collect::<CliResult<Vec<_>>>()?;
    bar.finish_and_clear();

    let sheet = arrange(&images, &results);
    output::write_image(&args.out, &image::grid(&sheet, 1 + columns.len(), 1))?;
    let seconds = started.elapsed().as_secs_f64();
    println!("{}", summary(&args, &pairs, &columns, seconds));
    Ok(())
}

impl Args {
    /// The students, the teacher, or both. All use the w of the flags, by default that of the first
    /// decoder.
    fn pairs(&self, device: &Device) -> CliResult<Vec<Pair>> {
        let mut pairs = vec![];
        if let (Some(encoder), Some(decoder)) = (&self.encoder, &self.decoder) {
            let named = [("--encoder", encoder), ("--decoder", decoder)];
            pairs.push(self.pair("students", named, self.steps, device)?);
        }
        if let Some(teacher) = &self.teacher {
            let named = [("--teacher", teacher); 2];
            pairs.push(self.pair("teacher", named, Some(self.teacher_steps), device)?);
        }
        let default = pairs.first().map(|pair| pair.restyler.decoder());
        let default = default.and_then(|decoder| decoder.effective_w(None));
        let w = self.guidance.list().into_iter().map(|w| w.or(default));
        let w: Vec<Option<f64>> = w.collect();
        for pair in &mut pairs {
            pair.request.w = w.clone();
            let warnings = pair.restyler.check(&pair.request);
            for warning in warnings.map_err(|error| pair.refuse(error))? {
                eprintln!("warning: {warning}");
            }
        }
        Ok(pairs)
    }

    fn pair(
        &self,
        name: &'static str,
        named: [(&str, &String); 2],
        steps: Option<usize>,
        device: &Device,
    ) -> CliResult<Pair> {
        let labels = named.map(|(flag, reference)| format!("{flag} {reference}"));
        let [(_, encoder), (_, decoder)] = named;
        let keep = KeepEncoder::WhileEncoding;
        let options = self
            .precision
            .load_options(device, None, &self.load, keep)?;
        let prompts = [self.from.clone(), self.to.clone()];
        let options = LoadOptions {
            texts: texts(&prompts, None),
            ..options
        };
        let one = encoder == decoder;
        let decoder = models::find(decoder, steps)?.generator(&options, device)?;
        let (model, parts) = match one {
            true => (decoder.model().clone(), decoder.components().cloned()),
            false => {
                let encoder = models::find(encoder, steps)?;
                (encoder.network(&options, device)?, encoder.components()?)
            }
        };
        let restyler = Restyler::new(model, parts.as_ref(), decoder);
        let restyler = restyler.map_err(|error| refuse(&labels, error))?;
        let decoder = restyler.decoder();
        let [encoder_steps, decoder_steps] = restyler.default_steps();
        // Latent models of classes keep the names with the text encoder, which both share.
        let encoder_classes = match decoder.is_latent() {
            true => decoder.classes(),
            false => &restyler.encoder().recipe.classes,
        };
        let subject = |text: &String, classes: &[String]| -> CliResult<Subject> {
            Ok(match decoder.takes_prompts() {
                true => Subject::Prompt(text.clone()),
                false => Subject::Class(find_class(text, classes)?),
            })
        };
        let request = RestyleRequest {
            images: vec![],
            from: subject(&self.from, encoder_classes)?,
            to: subject(&self.to, decoder.classes())?,
            encoder_steps: steps.unwrap_or(encoder_steps),
            decoder_steps: steps.unwrap_or(decoder_steps),
            sampler: match name {
                "teacher" => Sampler::DDIM.into(),
                _ => Sampler::Deterministic.into(),
            },
            encoder_w: self.w_encode,
            w: vec![],
        };
        if decoder.takes_prompts() {
            for prompt in [&self.from, &self.to] {
                warn_if_cut(decoder, prompt)?;
            }
        }
        Ok(Pair {
            name,
            labels,
            restyler,
            request,
        })
    }
}

impl Pair {
    fn refuse(&self, error: RestyleError) -> CliError {
        refuse(&self.labels, error)
    }

    /// How many times an image is encoded or decoded.
    fn passes(&self) -> usize {
        self.request.images.len() * (1 + self.request.w.len())
    }

    /// What one result costs at most.
    fn cost(&self) -> String {
        let [encode, decode] = self.restyler.network_calls(&self.request);
        let [encode, decode] = [encode, decode].map(|calls| plural(calls, "network call"));
        format!("{}: {encode} to encode and {decode} to decode", self.name)
    }
}

/// The error with the names of the models that it is about.
fn refuse([encoder, decoder]: &[String; 2], error: RestyleError) -> CliError {
    match error {
        RestyleError::Encoder(error) => CliError::from(error).context(encoder),
        RestyleError::Decoder(error) => CliError::from(error).context(decoder),
        RestyleError::Kinds | RestyleError::Parts | RestyleError::Shape { .. } => {
            CliError::input(format!("{encoder} and {decoder}: {error}"))
        }
    }
}

/// Refuses more images than the memory of this machine holds; all models are in it.
fn check_memory(pairs: &[Pair], device: &Device) -> CliResult {
    let predicted = pairs.iter().map(|pair| {
        let predicted = pair.restyler.memory(&pair.request);
        predicted.map_err(|error| pair.refuse(error))
    });
    let predicted = predicted.collect::<CliResult<Vec<Predicted>>>()?;
    let sum = predicted
        .into_iter()
        .fold(Predicted::default(), Predicted::plus);
    let advice = "give fewer images, or fewer weights w";
    memory::check_on(Placement::of(device).memory(), "restyling", sum, advice)
}

/// The shape that all models work on.
fn common_shape(pairs: &[Pair]) -> CliResult<ImageShape> {
    let mut shapes = pairs.iter().flat_map(|pair| pair.restyler.shapes());
    let first = shapes
        .next()
        .ok_or_else(|| CliError::input("give --encoder and --decoder, or --teacher"))?;
    match shapes.find(|shape| *shape != first) {
        None => Ok(first),
        Some(other) => Err(CliError::input(format!(
            "the models work on images of different shapes, {first} and {other}: give models that were trained on the same images"
        ))),
    }
}

fn read(inputs: InputArgs, file: &Path, shape: ImageShape) -> CliResult<Image> {
    let side = (shape.height == shape.width).then_some(shape.height);
    let image = inputs.image(file, side, shape.channels)?;
    match image.shape == shape {
        true => Ok(image),
        false => Err(CliError::input(format!(
            "{} has {}, but the model works on {shape}: resize it first",
            file.display(),
            image.shape
        ))),
    }
}

/// Row by row: an image, then its results of one pair for each w.
fn arrange(sources: &[Image], results: &[Vec<Vec<Image>>]) -> Vec<Image> {
    let mut sheet = vec![];
    for (index, source) in sources.iter().enumerate() {
        for columns in results {
            sheet.push(source.clone());
            sheet.extend(columns.iter().map(|column| column[index].clone()));
        }
    }
    sheet
}

fn summary(args: &Args, pairs: &[Pair], columns: &[Option<f64>], seconds: f64) -> String {
    let column = |w: &Option<f64>| w.map_or("the result".into(), both_conventions);
    let columns: Vec<String> = columns.iter().map(column).collect();
    let costs: Vec<String> = pairs.iter().map(Pair::cost).collect();
    format!(
        "{}: {} from {} to {}; columns: the image, then {}; {}; {seconds:.1} s in all",
        args.out.display(),
        plural(args.images.len(), "image"),
        args.from,
        args.to,
        columns.join(", "),
        costs.join("; ")
    )
}
