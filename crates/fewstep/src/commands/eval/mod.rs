//! `fewstep eval`: how good a model's images are.

mod features;
mod fidelity;
mod inputs;
mod metrics;
mod pairs;
mod real;
mod results;
mod rows;
pub(super) mod shards;
mod table;

use super::shared::guidance::GuidanceListArgs;
use super::shared::loras::LoadArgs;
use super::shared::measure::{CHUNK, Measured, SampledModel};
use super::shared::models;
use super::shared::sampling::SamplerArgs;
use super::shared::shard::Shard;
use crate::compute::{self, PrecisionArgs};
use crate::error::{CliError, CliResult};
use crate::memory::{self, MemoryArgs};
use crate::numbers::{plural, thousands};
use crate::parsers::{batch_size, count, steps};
use crate::storage::Storage;
use crate::{output, progress};
use burn::tensor::Device;
use features::FeatureArgs;
use fewstep_data::image::Image;
use fewstep_generate::{Extent, Generator, KeepEncoder, ModelSource};
use fewstep_kernels::device::Placement;
use fewstep_metrics::FeatureNetwork;
use fidelity::FidelityArgs;
use inputs::EvalInputs;
use pairs::{PairArgs, PairValues};
use real::NEIGHBOURS;
use real::{Real, RealArgs};
use results::{Comparison, Row, Setting};
use rows::{print_rows, write_rows};
use serde::Serialize;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// Measure images against real ones.
///
/// The metrics are Fréchet distance (FID), kernel distance (KID), precision, recall and classifier
/// score.
///
/// Every number of steps is measured with every w; of a run folder, with the student for that
/// number of steps. With the embedded classifier of Fashion-MNIST the metrics compare models with
/// each other. The FID of the literature needs the Inception network (--features inception
/// --weights FILE).
///
/// A model that generates from control images gets those of held-out images (--data), and its
/// images are also compared with the originals: PSNR, SSIM and, with --lpips FILE, LPIPS. A model
/// that generates from prompts gets captions (--data captioned:PATH), and its retrieval accuracy is
/// measured too: how often the real image of a caption is the nearest one to the image generated
/// from it.
///
/// Example: fewstep eval --model builtin:fashion-mnist-teacher --steps 8,16 --w 0,1 --count 1000
///
/// With --fidelity TEACHER nothing real is needed: the images are compared with those that the
/// teacher generates from the same noise.
///
/// Example: fewstep eval --model builtin:fashion-mnist --fidelity builtin:fashion-mnist-teacher
/// --steps 4,2,1 --w 0,1,4
///
/// A large measurement can be done in shards, by any number of processes on any machines: with
/// --shard 3/64 a call generates and measures the fourth of 64 shards of the --count images, and
/// writes their features into the folder --out. `fewstep merge` gives the metrics of all shards,
/// the same as those of one process.
///
/// Example: fewstep eval --model runs/codi --data fashion-mnist:~/data/fashion-mnist --steps 1,2,4
/// --count 2000
#[derive(clap::Args)]
#[command(group = clap::ArgGroup::new("subject").required(true).args(["model", "images"]))]
pub(crate) struct Args {
    /// The model: a folder, a .safetensors file, a run folder, a name on the hub, or builtin:NAME.
    #[arg(long)]
    model: Option<String>,
    #[command(flatten)]
    load: LoadArgs,
    #[command(flatten)]
    precision: PrecisionArgs,
    #[command(flatten)]
    memory: MemoryArgs,
    /// Measure the images in this folder instead of a model.
    #[arg(long, alias = "pictures", value_name = "FOLDER", conflicts_with_all = ["loras", "embeddings", "clip_skip", "steps", "w", "guidance_scale", "sampler", "spacing", "eta", "churn", "seeds"])]
    images: Option<PathBuf>,
    /// Measure the retrieval accuracy of --images. They must be generated from the captions of the
    /// real images, in the order of their names, and again from the first one.
    #[arg(long, requires = "images")]
    in_turn: bool,
    /// Numbers of steps [default: those that a student was distilled for; 32 for a teacher].
    #[arg(long, value_delimiter = ',', value_parser = steps)]
    steps: Vec<usize>,
    #[command(flatten)]
    guidance: GuidanceListArgs,
    #[command(flatten)]
    sampler: SamplerArgs,
    /// Images to generate for each row [default: 5000; 100 with --fidelity].
    #[arg(long, value_parser = count)]
    count: Option<usize>,
    /// Seeds; the table shows mean and standard deviation over them.
    #[arg(long, value_delimiter = ',', default_value = "0")]
    seeds: Vec<u64>,
    #[command(flatten)]
    fidelity: FidelityArgs,
    #[command(flatten)]
    real: RealArgs,
    #[command(flatten)]
    features: FeatureArgs,
    #[command(flatten)]
    pairs: PairArgs,
    /// Images per network call.
    #[arg(long, default_value = "64", value_parser = batch_size)]
    batch: usize,
    /// Write the results to this JSON file, row by row as they come; with --shard, a file of the
    /// shard into this folder.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Measure only this shard of the --count images, counted from 0: 0/64 is the first of 64.
    /// `fewstep merge` computes the metrics from all shards.
    #[arg(long, value_name = "I/N", conflicts_with_all = ["images", "grid", "json"])]
    shard: Option<Shard>,
    /// Print the results as JSON instead of a table.
    #[arg(long)]
    json: bool,
}

/// Images of each row.
const COUNT: usize = 5000;

/// Images that are kept for --grid.
const SHOWN: usize = 12;

pub(crate) fn run(args: Args) -> CliResult {
    args.memory.choose();
    if let (Some(file), None) = (&args.out, args.shard) {
        output::prepare(file)?;
    }
    if let Some(file) = &args.pairs.grid {
        output::prepare_image(file)?;
    }
    let device = compute::device(None)?;
    args.precision.generating(&device)?;
    match (&args.model, &args.images) {
        (Some(model), _) if args.fidelity.is_asked() => args.measure_fidelity(model, &device),
        (Some(model), _) => args.measure_model(model, &device),
        (None, Some(folder)) => args.measure_images(folder, &device),
        (None, None) => Err(CliError::input("give --model or --images")),
    }
}

impl Args {
    /// Images of each row.
    fn count(&self) -> usize {
        self.count.unwrap_or(match self.fidelity.is_asked() {
            true => fidelity::COUNT,
            false => COUNT,
        })
    }

    fn measure_model(&self, reference: &str, device: &Device) -> CliResult {
        let models = self.models(reference, device)?;
        let generator = &models[0].generator;
        let network = self.features.load(Some(generator.image_shape()), device)?;
        self.check_count(generator, &*network)?;
        let seeds = each_once(&self.seeds);
        let (real, inputs) = self.inputs(reference, generator, &*network)?;
        warn_of_few_images(inputs.len(), &*network);
        if let Some(shard) = self.shard {
            return self.measure_shard(shard, &models, (real, inputs), &*network);
        }
        let (kind, used) = (inputs.kind(), self.load.used()?);
        let (mut rows, mut shown) = (vec![], vec![]);
        for sampled in &models {
            for &seed in &seeds {
                let all = 0..inputs.len();
                let (measured, values, first) =
                    self.measure(sampled, seed, &inputs, all, &*network)?;
                if seed == seeds[0] {
                    shown.push(first);
                }
                let setting = Setting::of(sampled, seed, &used);
                let row = Row::new(setting, &measured, values, &kind, &real, network.id())?;
                rows.push(row);
                self.save(&rows)?;
            }
        }
        if let (EvalInputs::Pairs(pairs), Some(file)) = (&inputs, &self.pairs.grid) {
            output::write_image(file, &pairs.grid(&shown)?)?;
        }
        self.print(&rows, || table::of_model(&rows, &kind, &real, network.id()))
    }

    /// Refuses more images than memory holds the features of, and too few for statistics.
    fn check_count(&self, generator: &Generator, network: &dyn FeatureNetwork) -> CliResult {
        let count = self.count();
        if count < 2 {
            return Err(CliError::input(
                "--count is 1, and statistics need at least 2 images",
            ));
        }
        if self.real.has_images() && count <= NEIGHBOURS {
            return Err(CliError::input(format!(
                "precision and recall need at least {} samples, got {count}: use a larger --count",
                NEIGHBOURS + 1
            )));
        }
        let mut predicted = generator.memory(&Extent {
            images: count.min(CHUNK) as u64,
            size: None,
            batch: self.batch,
            w: self.guidance.list().into_iter().flatten().reduce(f64::max),
        })?;
        // Features, and what each image is generated from.
        let each = 4 * network.dim() as u64 + 64;
        let features = each.saturating_mul(count as u64);
        predicted.host = predicted.host.saturating_add(features);
        memory::check_on(
            Placement::of(generator.device()).memory(),
            &format!("measuring {} images", thousands(count as u64)),
            predicted,
            "use a smaller --count or --batch",
        )
    }

    /// Measures some of the images: their features, how near they are to the originals, and the
    /// first few of them.
    fn measure(
        &self,
        sampled: &SampledModel,
        seed: u64,
        inputs: &EvalInputs,
        share: Range<usize>,
        network: &dyn FeatureNetwork,
    ) -> CliResult<(Measured, Option<PairValues>, Vec<Image>)> {
        let mut shown = vec![];
        let mut values = matches!(inputs, EvalInputs::Pairs(_)).then(PairValues::default);
        let first = share.start;
        let of_set = |range: Range<usize>| first + range.start..first + range.end;
        let mut on_images = |range: Range<usize>, images: &[Image]| -> CliResult {
            let more = SHOWN - shown.len();
            shown.extend(images.iter().take(more).cloned());
            if let (EvalInputs::Pairs(pairs), Some(values)) = (inputs, &mut values) {
                values.append(pairs.compare(of_set(range), images)?);
            }
            Ok(())
        };
        let prompted = sampled.generator.takes_prompts();
        let images = |range| inputs.images(of_set(range), seed, prompted);
        let bar = progress::bar(&sampled.title(), share.len() as u64, "images");
        let progress = &mut |done| bar.set_position(done as u64);
        let (count, batch) = (share.len(), self.batch);
        let measured = sampled.measure(count, &images, batch, network, &mut on_images, progress)?;
        bar.finish_and_clear();
        Ok((measured, values, shown))
    }

    /// Measures a shard of the images, and writes what a merge needs of it.
    fn measure_shard(
        &self,
        shard: Shard,
        models: &[SampledModel],
        (real, inputs): (Real, EvalInputs),
        network: &dyn FeatureNetwork,
    ) -> CliResult {
        let Some(folder) = &self.out else {
            return Err(CliError::input(
                "--shard writes a file for `fewstep merge`: give a folder for it with --out",
            ));
        };
        let share = shard.share_of(inputs.len())?;
        let (mut rows, used) = (vec![], self.load.used()?);
        for sampled in models {
            for &seed in &each_once(&self.seeds) {
                let (measured, values, _) =
                    self.measure(sampled, seed, &inputs, share.clone(), network)?;
                rows.push((Setting::of(sampled, seed, &used), measured, values));
            }
        }
        let place = Storage::open(folder)?;
        let file = shards::write(shard, &rows, (&real, &inputs), network.id(), &place)?;
        println!("{file}: {} of shard {shard}", plural(share.len(), "image"));
        Ok(())
    }

    /// What the model generates from, and what its images are measured against.
    fn inputs(
        &self,
        reference: &str,
        generator: &Generator,
        network: &dyn FeatureNetwork,
    ) -> CliResult<(Real, EvalInputs)> {
        let count = self.count();
        if let Some(set) = self.reference_set(generator)? {
            let real = self.real.of_set(&set, network, count)?;
            return Ok((real, self.inputs_from(&set, reference, generator)?));
        }
        self.pairs.refuse_all(self.fidelity.is_asked())?;
        let classes = generator.classes();
        let shape = generator.image_shape();
        let real = self.real.for_model(shape, classes, network, count)?;
        let turns = inputs::turns(&real.class_counts, classes.len(), count);
        Ok((real, EvalInputs::Classes(turns)))
    }

    /// Every number of steps with every w, all checked before anything is generated.
    fn models(&self, reference: &str, device: &Device) -> CliResult<Vec<SampledModel>> {
        let steps: Vec<Option<usize>> = match self.steps.is_empty() {
            true => vec![None],
            false => each_once(&self.steps).into_iter().map(Some).collect(),
        };
        let controlnet = self.pairs.controlnet.as_deref();
        let keep = KeepEncoder::Always;
        let options = self
            .precision
            .load_options(device, controlnet, &self.load, keep)?;
        let mut models = vec![];
        let mut loaded: Vec<(ModelSource, Rc<Generator>)> = vec![];
        for steps in steps {
            let source = models::find(reference, steps)?;
            let known = loaded.iter().find(|(known, _)| *known == source);
            let generator = match known {
                Some((_, generator)) => generator.clone(),
                None => Rc::new(source.generator(&options, device)?),
            };
            loaded.push((source, generator.clone()));
            for w in each_once(&self.guidance.list()) {
                let sampled = SampledModel {
                    steps: steps.unwrap_or_else(|| generator.default_steps()),
                    sampler: self.sampler.choose(&generator)?,
                    w: generator.effective_w(w),
                    generator: generator.clone(),
                };
                for warning in sampled.check(w)? {
                    eprintln!("warning: {warning}");
                }
                models.push(sampled);
            }
        }
        Ok(models)
    }

    fn measure_images(&self, folder: &Path, device: &Device) -> CliResult {
        let network = self.features.load(None, device)?;
        if self.features.is_default() {
            self.real.refuse_colour(folder)?;
        }
        let shape = self.features.preferred_shape();
        let (images, real) = self
            .real
            .for_folder(folder, shape, &*network, self.in_turn)?;
        warn_of_few_images(images.len(), &*network);
        let generated = real::features_of(&images, &*network, "images")?;
        let metrics = metrics::compare(&generated, &real, 0)?;
        let mut result = Comparison::new(folder, images.len(), metrics, &real, network.id());
        if self.in_turn {
            result.retrieval = Some(metrics::retrieve_in_turn(&generated, &real)?);
        }
        let results = [result];
        self.save(&results)?;
        self.print(&results, || {
            Ok(table::of_images(&results[0], &real, network.id()))
        })
    }

    fn save(&self, rows: &impl Serialize) -> CliResult {
        match &self.out {
            Some(file) => write_rows(file, rows),
            None => Ok(()),
        }
    }

    fn print(&self, rows: &impl Serialize, table: impl FnOnce() -> CliResult<String>) -> CliResult {
        print_rows(self.json, rows, table)
    }
}

/// The values without repetitions: what is measured twice the same is no second measurement.
fn each_once<T: Copy + PartialEq>(values: &[T]) -> Vec<T> {
    let mut once = vec![];
    for value in values {
        if !once.contains(value) {
            once.push(*value);
        }
    }
    once
}

/// Distances between the statistics of few images are too large.
fn warn_of_few_images(count: usize, network: &dyn FeatureNetwork) {
    if count < network.dim() {
        eprintln!(
            "warning: {count} images are fewer than the {} features of the network: distances come out too large, and can only be compared with those of as many images",
            network.dim()
        );
    }
}
