//! `fewstep restyle`: an image of one class, or of what one text says, becomes one of another.

mod road;
mod space;

use crate::arguments::{GuidanceListArgs, both_conventions, finite, positive};
use crate::compute::{self, PrecisionArgs};
use crate::failure::{CliError, CliResult};
use crate::report::plural;
use crate::{output, progress};
use burn::tensor::Device;
use fewstep_data::ImageShape;
use fewstep_data::image::{self, Image};
use road::{Road, Task};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Turn images of one class into images of another: encode to noise as the one, decode as the other.
///
/// With latent diffusion models, which draw from texts, --from says what the images show and --to what they become.
///
/// The encoder and the decoder are students distilled for it (a student of stage one can be both); with --teacher
/// the teacher's long DDIM does it both ways, in its own rows below the students' when both are given. Every row
/// shows the image itself, then one result for each w: larger w, stronger style.
///
/// Example: fewstep restyle --teacher builtin:fashion-mnist-teacher --image sneaker.png --from Sneaker --to "Ankle boot" --w 0,1,3 --out boots.png
///
/// Example: fewstep restyle --encoder runs/encoder --decoder runs/students --image apple.png --from "a red apple" --to "a lemon" --w 2,6
#[derive(clap::Args)]
#[command(group = clap::ArgGroup::new("models").required(true).multiple(true).args(["encoder", "teacher"]))]
pub(crate) struct Args {
    /// An image to restyle; may be given several times.
    #[arg(long = "image", value_name = "FILE", required = true)]
    images: Vec<PathBuf>,
    /// The class of the images, by name or number, or a text that says what they show.
    #[arg(long, value_name = "CLASS|TEXT")]
    from: String,
    /// The class that they become, or a text that says it.
    #[arg(long, value_name = "CLASS|TEXT")]
    to: String,
    /// The distilled encoder: a model folder, a .safetensors file or a run folder.
    #[arg(long, value_name = "MODEL", requires = "decoder")]
    encoder: Option<String>,
    /// The distilled decoder: a student for the deterministic sampler.
    #[arg(long, value_name = "MODEL", requires = "encoder")]
    decoder: Option<String>,
    /// Steps of encoder and decoder each; by default those that they were distilled for.
    #[arg(long, value_parser = positive, requires = "encoder")]
    steps: Option<usize>,
    /// A teacher that does both with DDIM.
    #[arg(long, value_name = "MODEL")]
    teacher: Option<String>,
    /// DDIM steps of the teacher each way.
    #[arg(long, default_value = "64", value_parser = positive, requires = "teacher")]
    teacher_steps: usize,
    /// Guidance weight w while encoding; 0, or the nearest that the encoder knows, by default.
    #[arg(long, value_name = "W", value_parser = finite, allow_negative_numbers = true)]
    w_encode: Option<f64>,
    #[command(flatten)]
    guidance: GuidanceListArgs,
    #[command(flatten)]
    precision: PrecisionArgs,
    /// The PNG file to write: a row for each image.
    #[arg(long, value_name = "FILE", default_value = "restyled.png")]
    out: PathBuf,
}

pub(crate) fn run(args: Args) -> CliResult {
    let device = compute::device(None)?;
    args.precision.choose(&device)?;
    let roads = args.roads(&device)?;
    let default_w = roads.first().and_then(Road::default_w);
    let task = Task {
        from: &args.from,
        to: &args.to,
        w_encode: args.w_encode,
        w: args
            .guidance
            .list()
            .into_iter()
            .map(|w| w.or(default_w))
            .collect(),
    };
    for road in &roads {
        road.check(&task)?;
    }
    let shape = common_shape(&roads)?;
    let sources = args
        .images
        .iter()
        .map(|file| read(file, shape))
        .collect::<CliResult<Vec<_>>>()?;
    output::prepare(&args.out)?;

    let started = Instant::now();
    let bar = progress::bar(
        "restyling",
        (sources.len() * roads.len() * (1 + task.w.len())) as u64,
        "passes",
    );
    let results = roads
        .iter()
        .map(|road| road.travel(&sources, &task, &mut |passes| bar.inc(passes as u64)))
        .collect::<CliResult<Vec<_>>>()?;
    bar.finish_and_clear();

    let sheet = arrange(&sources, &results);
    output::write_image(&args.out, &image::grid(&sheet, 1 + task.w.len(), 1))?;
    println!(
        "{}",
        summary(&args, &roads, &task, started.elapsed().as_secs_f64())
    );
    Ok(())
}

impl Args {
    /// The ways to restyle: the students', the teacher's, or both.
    fn roads(&self, device: &Device) -> CliResult<Vec<Road>> {
        let mut roads = vec![];
        let (steps, said) = (self.steps, [&self.from, &self.to].map(String::as_str));
        if let (Some(encoder), Some(decoder)) = (&self.encoder, &self.decoder) {
            roads.push(Road::of_students([encoder, decoder], steps, said, device)?);
        }
        if let Some(teacher) = &self.teacher {
            roads.push(Road::of_teacher(teacher, self.teacher_steps, said, device)?);
        }
        Ok(roads)
    }
}

/// The shape that all models work on.
fn common_shape(roads: &[Road]) -> CliResult<ImageShape> {
    let mut shapes = roads.iter().flat_map(|road| road.shapes());
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

fn read(file: &Path, shape: ImageShape) -> CliResult<Image> {
    let side = (shape.height == shape.width).then_some(shape.height);
    let image = image::read(file, side, shape.channels).map_err(CliError::input)?;
    match image.shape == shape {
        true => Ok(image),
        false => Err(CliError::input(format!(
            "{} has {}, but the model works on {shape}: resize it first",
            file.display(),
            image.shape
        ))),
    }
}

/// Row by row: a source, then what one road made of it for each w.
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

fn summary(args: &Args, roads: &[Road], task: &Task<'_>, seconds: f64) -> String {
    let column = |w: &Option<f64>| w.map_or("the result".into(), both_conventions);
    let columns: Vec<String> = task.w.iter().map(column).collect();
    let ways: Vec<String> = roads.iter().map(|road| road.cost(task)).collect();
    format!(
        "{}: {} from {} to {}; columns: the image, then {}; {}; {seconds:.1} s in all",
        args.out.display(),
        plural(args.images.len(), "image"),
        args.from,
        args.to,
        columns.join(", "),
        ways.join("; ")
    )
}
