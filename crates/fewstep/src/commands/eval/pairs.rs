//! Control images with the images that they were made from, to measure conditional models on.

use super::real::{ReferenceSet, class_numbers};
use crate::commands::shared::measure::metrics_error;
use crate::error::{CliError, CliResult, IntoCliResult};
use crate::output::cache_folder;
use crate::tasks::command_of;
use burn::tensor::Device;
use fewstep_data::image::{self, Image, to_f32};
use fewstep_data::{Captioned, ConditionConfig, Conditions, DataKind, Dataset, Draw, ImageShape};
use fewstep_diffusion::{ControlSpec, Task};
use fewstep_distill::method::control_spec;
use fewstep_distill::recipe::parse_with;
use fewstep_generate::{ControlImage, Generator, ImageRequest, Init, Subject};
use fewstep_metrics::{Images, Lpips, MeanInterval, psnr, ssim};
use serde::{Deserialize, Serialize};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Seed of random control images: every row of results uses the same masks and the same noise.
const CONDITION_SEED: u64 = 0;

/// Flags for models that generate from control images.
#[derive(clap::Args)]
pub(super) struct PairArgs {
    /// Use the ControlNet of this model folder instead of the model's own. It must have been
    /// trained on the same base.
    #[arg(
        long,
        alias = "adapter",
        value_name = "FOLDER",
        conflicts_with = "images"
    )]
    pub(super) controlnet: Option<PathBuf>,
    /// How to make control images, as in a recipe: '{ kind = "bicubic", factor = 4 }' [default: as
    /// in the model's run].
    #[arg(long, value_name = "TOML", conflicts_with = "images")]
    condition: Option<String>,
    /// Measure LPIPS too, with these weights: a safetensors file with trunk (AlexNet or VGG16) and
    /// linear layers.
    #[arg(long, value_name = "FILE", conflicts_with = "images")]
    lpips: Option<PathBuf>,
    /// Write the first few images to this image file, a row for each: the control image, the
    /// generated images in the order of the table, the original.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["images", "fidelity"])]
    pub(super) grid: Option<PathBuf>,
}

/// Images, and how control images are made from them.
pub(super) struct Pairs {
    originals: Dataset,
    /// Where each of the images is among those that the conditions were opened for.
    places: Vec<usize>,
    /// The class that each image is generated with.
    classes: Vec<Option<u32>>,
    /// The prompt that each image is generated from; empty without captions.
    prompts: Vec<String>,
    conditions: Conditions,
    task: Task,
    /// For a model whose network sees the image: the guidance scale towards it.
    image_scale: Option<f64>,
    lpips: Option<Lpips>,
}

/// The part of a recipe that matters here.
#[derive(Deserialize)]
struct Recipe {
    condition: Option<ConditionConfig>,
}

/// How near each image is to the original.
#[derive(Clone, Debug, Default)]
pub(super) struct PairValues {
    pub(super) psnr: Vec<f64>,
    pub(super) ssim: Vec<f64>,
    /// Empty without --lpips.
    pub(super) lpips: Vec<f64>,
}

/// Means over images.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct PairMetrics {
    pub(super) psnr: MeanInterval,
    pub(super) ssim: MeanInterval,
    /// Only with --lpips.
    pub(super) lpips: Option<MeanInterval>,
}

impl PairArgs {
    /// Refuses the flags, for a model without control images. LPIPS has a meaning without them too
    /// where the images are compared with those of a teacher.
    pub(super) fn refuse_all(&self, has_teacher: bool) -> CliResult {
        let flags = [
            (self.condition.is_some(), "--condition"),
            (self.lpips.is_some() && !has_teacher, "--lpips"),
            (self.grid.is_some(), "--grid"),
        ];
        match flags.iter().find(|(is_set, _)| *is_set) {
            None => Ok(()),
            Some((_, flag)) => Err(CliError::input(format!(
                "{flag} is for models that generate from control images, and this one takes none: give a ControlNet for it with --controlnet"
            ))),
        }
    }

    /// `count` images of a dataset, spread evenly, with control images for a model.
    pub(super) fn open(
        &self,
        model: &str,
        (generator, spec): (&Generator, ControlSpec),
        data: &ReferenceSet,
        count: usize,
    ) -> CliResult<Pairs> {
        let recipe = &generator.model().recipe;
        let conditions = conditions(&self.condition(model)?, data)?;
        let dataset = &data.images;
        if control_spec(&conditions) != spec {
            return Err(CliError::input(format!(
                "the model generates from control images of {:?} (channels, height, width) for `fewstep {}`, and these are {:?} for `fewstep {}`: give --condition as in its recipe",
                spec.shape,
                command_of(spec.task),
                conditions.shape(),
                command_of(control_spec(&conditions).task)
            )));
        }
        let count = count.min(dataset.len());
        let places: Vec<usize> = (0..count).map(|k| k * dataset.len() / count).collect();
        let prompt = |&place: &usize| data.captions.get(place).cloned().unwrap_or_default();
        let numbers = class_numbers(dataset, &recipe.classes)?;
        let number = |label: u32| numbers.as_ref().map(|numbers| numbers[label as usize]);
        let class = |&place: &usize| dataset.label(place).and_then(number);
        Ok(Pairs {
            classes: places.iter().map(class).collect(),
            prompts: places.iter().map(prompt).collect(),
            originals: dataset.select(places.iter().copied()),
            places,
            conditions,
            task: spec.task,
            // A teacher is compared at the scale of its student.
            image_scale: generator
                .edits_by_instruction()
                .then(|| recipe.default_image_guidance()),
            lpips: self.lpips(dataset.shape, generator.device())?,
        })
    }

    /// LPIPS for images of this shape, if --lpips gives its weights.
    pub(super) fn lpips(&self, shape: ImageShape, device: &Device) -> CliResult<Option<Lpips>> {
        let Some(file) = &self.lpips else {
            return Ok(None);
        };
        let lpips = Lpips::load(file, device).input_error()?;
        let shape = [shape.channels, shape.height, shape.width];
        lpips.check(shape).input_error()?;
        Ok(Some(lpips))
    }

    /// The condition of --condition, else of the run of the ControlNet or the model.
    fn condition(&self, model: &str) -> CliResult<ConditionConfig> {
        if let Some(text) = &self.condition {
            let set = [format!("condition={text}")];
            let recipe: Recipe = parse_with("", "--condition", &set)?;
            return recipe
                .condition
                .ok_or_else(|| CliError::input("--condition is empty"));
        }
        let origin = self.controlnet.as_deref().unwrap_or(Path::new(model));
        let run = origin.parent().and_then(Path::parent);
        let found = [Some(origin), run]
            .into_iter()
            .flatten()
            .find_map(|folder| {
                let text = fewstep_data::read_text(&folder.join("recipe.toml")).ok()?;
                toml::from_str::<Recipe>(&text).ok()?.condition
            });
        found.ok_or_else(|| {
            CliError::input(format!(
                "{} is in no run folder whose recipe says how its control images are made: use --condition, such as '{{ kind = \"bicubic\", factor = 4 }}'",
                origin.display()
            ))
        })
    }
}

/// How control images are made for a dataset; for captioned images, from the files in the cache.
fn conditions(rule: &ConditionConfig, data: &ReferenceSet) -> CliResult<Conditions> {
    if data.config.kind != DataKind::Captioned {
        return Conditions::open(rule, &data.images, &data.config).input_error();
    }
    let captioned = Captioned::paired(&data.config, rule.given()).input_error()?;
    let folder = cache_folder().unwrap_or_else(std::env::temp_dir);
    Conditions::of_captioned(rule, &captioned, &folder).input_error()
}

impl Pairs {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.classes.len()
    }

    /// The request for one image: its class or prompt, and its control image or its mask.
    pub(super) fn request(
        &self,
        index: usize,
        plain: ImageRequest,
        prompted: bool,
    ) -> CliResult<ImageRequest> {
        let subject = match prompted {
            true => Subject::Prompt(self.prompts[index].clone()),
            false => self.classes[index].into(),
        };
        let control = self.control(index)?;
        Ok(match (self.task, self.image_scale) {
            (_, Some(scale)) => ImageRequest {
                subject,
                init: Init::Instruct {
                    image: Arc::new(Image::from_f32(self.originals.shape, &control)),
                    scale: Some(scale),
                },
                ..plain
            },
            (Task::Inpaint, None) => ImageRequest {
                subject,
                init: self.inpainting(index, &control),
                ..plain
            },
            (Task::Upscale | Task::Depth | Task::Instruct | Task::Image, None) => ImageRequest {
                subject,
                control: Some(Arc::new(ControlImage {
                    values: control,
                    shape: self.conditions.shape(),
                })),
                ..plain
            },
        })
    }

    /// The original with the mask of its control image, which is the last channel.
    fn inpainting(&self, index: usize, control: &[f32]) -> Init {
        let shape = ImageShape {
            channels: 1,
            ..self.originals.shape
        };
        let mask = control[control.len() - shape.len()..].iter();
        let mask = mask.map(|&value| if value > 0.5 { 255 } else { 0 });
        Init::Inpaint {
            image: Arc::new(self.originals.image(index)),
            mask: Arc::new(Image {
                pixels: mask.collect(),
                shape,
            }),
        }
    }

    /// The control image of one image.
    fn control(&self, index: usize) -> CliResult<Vec<f32>> {
        let draw = Draw {
            index: self.places[index],
            flip: false,
        };
        let (seed, clock) = (CONDITION_SEED, draw.index as u64);
        let source = self.conditions.source(draw).work_error()?;
        let source = source.unwrap_or_else(|| self.values(index));
        Ok(self.conditions.make(&source, seed, clock))
    }

    /// Compares generated images with the originals.
    pub(super) fn compare(&self, some: Range<usize>, made: &[Image]) -> CliResult<PairValues> {
        let shape = self.originals.shape;
        let pixels: Vec<u8> = made.iter().flat_map(|i| &i.pixels).copied().collect();
        let images = |pixels| {
            Images::new(shape.channels, shape.height, shape.width, pixels).map_err(metrics_error)
        };
        let originals = self.originals.subset(some);
        let originals: Vec<u8> = (0..originals.len())
            .flat_map(|index| originals.pixels(index).to_vec())
            .collect();
        let (generated, originals) = (images(&pixels)?, images(&originals)?);
        // Equal images count as if one value differed by one level.
        let highest = 10.0 * (255f64.powi(2) * shape.len() as f64).log10();
        let psnr = psnr(generated, originals).map_err(metrics_error)?;
        Ok(PairValues {
            psnr: psnr.into_iter().map(|value| value.min(highest)).collect(),
            ssim: ssim(generated, originals).map_err(metrics_error)?,
            lpips: match &self.lpips {
                Some(lpips) => lpips
                    .distances(generated, originals)
                    .map_err(metrics_error)?,
                None => vec![],
            },
        })
    }

    /// The first images: control image, generated images, original.
    pub(super) fn grid(&self, columns: &[Vec<Image>]) -> CliResult<Image> {
        let mut cells = vec![];
        for row in 0..columns.first().map_or(0, Vec::len) {
            cells.push(self.shown(row)?);
            cells.extend(columns.iter().map(|column| column[row].clone()));
            cells.push(self.originals.image(row));
        }
        Ok(image::grid(&cells, columns.len() + 2, 1))
    }

    /// A control image at the size of the original, without the mask channel.
    fn shown(&self, index: usize) -> CliResult<Image> {
        let [channels, height, width] = self.conditions.shape();
        let shape = self.originals.shape;
        let control = self.control(index)?;
        let channels = channels - usize::from(self.task == Task::Inpaint);
        let values = (0..channels * shape.height * shape.width).map(|i| {
            let (rows, x) = (i / shape.width, i % shape.width);
            let (channel, y) = (rows / shape.height, rows % shape.height);
            let (y, x) = (y * height / shape.height, x * width / shape.width);
            control[(channel * height + y) * width + x]
        });
        let shape = ImageShape { channels, ..shape };
        Ok(Image::from_f32(shape, &values.collect::<Vec<f32>>()))
    }

    /// What the metrics of pairs are.
    pub(super) fn definition(&self) -> String {
        let kept = match self.task {
            Task::Inpaint => ", with the part that is not masked put back",
            _ => "",
        };
        let lpips = match &self.lpips {
            Some(lpips) => lpips.id(),
            None => "LPIPS needs --lpips FILE",
        };
        format!(
            "each generated from the control image of a real one and compared with it{kept} ({lpips}); ± is the half-width of the 95 % interval of the mean over images, and for the FID the deviation over seeds"
        )
    }

    fn values(&self, index: usize) -> Vec<f32> {
        let image = self.originals.pixels(index).iter();
        image.map(|&value| to_f32(value)).collect()
    }
}

impl PairValues {
    /// Adds those of more images.
    pub(super) fn append(&mut self, more: Self) {
        self.psnr.extend(more.psnr);
        self.ssim.extend(more.ssim);
        self.lpips.extend(more.lpips);
    }

    /// Means over the images, after the mean over the seeds of each image.
    pub(super) fn metrics(seeds: &[&Self]) -> CliResult<PairMetrics> {
        let mean = |of: fn(&Self) -> &Vec<f64>| {
            let images = of(seeds[0]).len();
            let mean = |i| seeds.iter().map(|s| of(s)[i]).sum::<f64>() / seeds.len() as f64;
            let values: Vec<f64> = (0..images).map(mean).collect();
            MeanInterval::of(&values).map_err(metrics_error)
        };
        Ok(PairMetrics {
            psnr: mean(|values| &values.psnr)?,
            ssim: mean(|values| &values.ssim)?,
            lpips: match seeds[0].lpips.is_empty() {
                true => None,
                false => Some(mean(|values| &values.lpips)?),
            },
        })
    }
}
