//! `fewstep eval --fidelity`: how near a model's images are to its teacher's.

use super::inputs::{EvalInputs, turns};
use super::table::align;
use super::{Args, each_once};
use crate::commands::shared::fidelity::{
    EffectiveW, Fidelity, effective_w, generate_all, interval, percent,
};
use crate::commands::shared::loras::Used;
use crate::commands::shared::measure::SampledModel;
use crate::commands::shared::models;
use crate::error::{CliError, CliResult};
use crate::memory;
use crate::numbers::{is_zero, plural, thousands};
use crate::parsers::steps;
use crate::progress;
use burn::tensor::Device;
use fewstep_data::image::Image;
use fewstep_diffusion::{Guidance, Role};
use fewstep_generate::{Extent, Generator, ImageRequest, KeepEncoder, scale_of};
use fewstep_kernels::device::Placement;
use fewstep_metrics::Lpips;
use serde::Serialize;
use std::rc::Rc;

/// Images of each row.
pub(super) const COUNT: usize = 100;

/// Steps of a teacher that takes any number.
const TEACHER_STEPS: usize = 64;

/// The flags for fidelity.
#[derive(clap::Args)]
pub(super) struct FidelityArgs {
    /// Compare the model's images with those that this teacher generates from the same noise, with
    /// the same w: squared error, PSNR, LPIPS (with --lpips), the drift of colour, contrast and
    /// sharpness, and how much of the guidance the model follows.
    #[arg(long, value_name = "TEACHER", requires = "model", conflicts_with_all = ["images", "features", "weights", "reference"])]
    fidelity: Option<String>,
    /// Steps of the teacher of --fidelity [default: 64, or those that it was distilled for].
    #[arg(long, value_name = "STEPS", value_parser = steps, requires = "fidelity")]
    teacher_steps: Option<usize>,
}

impl FidelityArgs {
    /// Whether fidelity is measured.
    pub(super) fn is_asked(&self) -> bool {
        self.fidelity.is_some()
    }
}

/// One model compared with its teacher.
#[derive(Serialize)]
struct Row {
    model: &'static str,
    #[serde(flatten)]
    used: Used,
    #[serde(skip_serializing_if = "is_zero")]
    clip_skip: usize,
    weights_hash: String,
    sampler: String,
    steps: usize,
    w: Option<f64>,
    #[serde(flatten)]
    fidelity: Fidelity,
    /// What it follows of w, by time; empty for a teacher without guidance.
    effective_w: Vec<EffectiveW>,
    network_calls: usize,
    teacher_weights_hash: String,
    teacher_sampler: String,
    teacher_steps: usize,
    samples: usize,
    seeds: Vec<u64>,
}

/// The teacher, and its images at each w.
struct Reference {
    teacher: SampledModel,
    images: Vec<(Option<f64>, Vec<Image>)>,
}

impl Args {
    pub(super) fn measure_fidelity(&self, model: &str, device: &Device) -> CliResult {
        let models = self.models(model, device)?;
        let generator = &models[0].generator;
        let mut reference = self.reference_of_fidelity(generator, device)?;
        let seeds = each_once(&self.seeds);
        self.check_fidelity_memory(&models, &reference.teacher.generator, seeds.len())?;
        let requests = self.requests_of_fidelity(model, generator, &seeds)?;
        let lpips = self.pairs.lpips(generator.image_shape(), device)?;
        let mut rows = vec![];
        for sampled in &models {
            let with_w = reference.with_w(sampled.w, &requests, self.batch)?;
            rows.push(self.row_of_fidelity(
                sampled,
                with_w,
                (&requests, &seeds),
                lpips.as_ref(),
            )?);
            self.save(&rows)?;
        }
        self.print(&rows, || Ok(table(&rows, lpips.as_ref())))
    }

    /// Refuses more images than memory holds: those of a row, and the teacher's for every w.
    fn check_fidelity_memory(
        &self,
        models: &[SampledModel],
        teacher: &Generator,
        seeds: usize,
    ) -> CliResult {
        let images = (self.count() as u64).saturating_mul(seeds as u64);
        let mut weights = vec![];
        for sampled in models {
            let w = teacher.effective_w(sampled.w);
            if !weights.contains(&w) {
                weights.push(w);
            }
        }
        let predicted = |generator: &Generator, images: u64| {
            generator.memory(&Extent {
                images,
                size: None,
                batch: self.batch,
                w: models
                    .iter()
                    .filter_map(|sampled| sampled.w)
                    .reduce(f64::max),
            })
        };
        let of_row = predicted(&models[0].generator, images)?;
        let of_teacher = predicted(teacher, images.saturating_mul(weights.len() as u64))?;
        memory::check_on(
            Placement::of(teacher.device()).memory(),
            &format!("comparing {} images", thousands(images)),
            of_row.plus(of_teacher),
            "use a smaller --count or --batch",
        )
    }

    fn row_of_fidelity(
        &self,
        sampled: &SampledModel,
        (teacher, of_teacher): (&SampledModel, &[Image]),
        (requests, seeds): (&[ImageRequest], &[u64]),
        lpips: Option<&Lpips>,
    ) -> CliResult<Row> {
        let bar = progress::bar(&sampled.title(), requests.len() as u64, "images");
        let made = generate_all(sampled, requests, self.batch, &mut |done| {
            bar.set_position(done as u64);
        })?;
        bar.finish_and_clear();
        let generator = &sampled.generator;
        let effective_w = effective_w(sampled, (teacher, of_teacher), requests, self.batch)?;
        Ok(Row {
            model: match generator.model().recipe.role {
                Role::Teacher => "teacher",
                Role::Student { .. } => "student",
            },
            used: self.load.used()?,
            clip_skip: sampled.generator.model().recipe.clip_skip,
            weights_hash: generator.weights_hash().into(),
            sampler: sampled.sampler.name(),
            steps: sampled.steps,
            w: sampled.w,
            fidelity: Fidelity::of(&made, of_teacher, lpips)?,
            effective_w,
            network_calls: sampled.network_calls(),
            teacher_weights_hash: teacher.generator.weights_hash().into(),
            teacher_sampler: teacher.sampler.name(),
            teacher_steps: teacher.steps,
            samples: requests.len(),
            seeds: seeds.to_vec(),
        })
    }

    /// The teacher, which must generate what the model does.
    fn reference_of_fidelity(&self, model: &Generator, device: &Device) -> CliResult<Reference> {
        let name = self.fidelity.fidelity.as_deref().unwrap_or_default();
        let source = models::find(name, self.fidelity.teacher_steps)?;
        let controlnet = self.pairs.controlnet.as_deref();
        let load = self.load.without_loras();
        let options =
            self.precision
                .load_options(device, controlnet, &load, KeepEncoder::Always)?;
        let generator = Rc::new(source.generator(&options, device)?);
        let of = |g: &Generator| {
            (
                g.image_shape(),
                g.model().recipe.resolution,
                g.takes_prompts(),
            )
        };
        if of(model) != of(&generator) || model.classes() != generator.classes() {
            return Err(CliError::input(format!(
                "{name} generates other images than the model ({}, not {}, or other classes): --fidelity needs the teacher that the model was distilled from",
                generator.image_shape(),
                model.image_shape()
            )));
        }
        let default = match generator.model().recipe.role.knows_every_level() {
            true => TEACHER_STEPS,
            false => generator.default_steps(),
        };
        let teacher = SampledModel {
            steps: self.fidelity.teacher_steps.unwrap_or(default),
            sampler: generator.default_sampler(),
            w: None,
            generator,
        };
        for warning in teacher.check(None)? {
            eprintln!("warning: {warning}");
        }
        Ok(Reference {
            teacher,
            images: vec![],
        })
    }

    /// The images of all seeds.
    fn requests_of_fidelity(
        &self,
        model: &str,
        generator: &Generator,
        seeds: &[u64],
    ) -> CliResult<Vec<ImageRequest>> {
        let count = self.count();
        let inputs = match self.reference_set(generator)? {
            Some(set) => self.inputs_from(&set, model, generator)?,
            None => {
                self.pairs.refuse_all(true)?;
                self.real.refuse_all()?;
                EvalInputs::Classes(turns(&None, generator.classes().len(), count))
            }
        };
        if inputs.len() * seeds.len() < 2 {
            return Err(CliError::input(
                "--count is 1, and an interval needs at least 2 images",
            ));
        }
        let prompted = generator.takes_prompts();
        let of_seed = |&seed: &u64| inputs.images(0..inputs.len(), seed, prompted);
        let requests: Vec<Vec<ImageRequest>> =
            seeds.iter().map(of_seed).collect::<CliResult<_>>()?;
        Ok(requests.concat())
    }
}

impl Reference {
    /// The teacher, and its images with the w that the model has.
    fn with_w(
        &mut self,
        w: Option<f64>,
        requests: &[ImageRequest],
        batch: usize,
    ) -> CliResult<(&SampledModel, &[Image])> {
        // One whose w is fixed has no other.
        let fixed = matches!(
            self.teacher.generator.model().recipe.guidance,
            Guidance::Fixed { .. }
        );
        let w = w.filter(|_| !fixed);
        let w = self.teacher.generator.effective_w(w);
        let place = self.images.iter().position(|(known, _)| *known == w);
        let place = match place {
            Some(place) => place,
            None => {
                self.teacher.w = w;
                let title = format!("teacher, {}", self.teacher.title());
                let bar = progress::bar(&title, requests.len() as u64, "images");
                let images = generate_all(&self.teacher, requests, batch, &mut |done| {
                    bar.set_position(done as u64);
                })?;
                bar.finish_and_clear();
                self.images.push((w, images));
                self.images.len() - 1
            }
        };
        Ok((&self.teacher, &self.images[place].1))
    }
}

/// The rows as a table, with what the figures are.
fn table(rows: &[Row], lpips: Option<&Lpips>) -> String {
    let mut head = vec!["sampler", "steps", "w", "guidance scale", "MSE", "PSNR"];
    if lpips.is_some() {
        head.push("LPIPS");
    }
    head.extend(["colour", "contrast", "sharpness", "network calls"]);
    let mut lines = vec![head.into_iter().map(String::from).collect::<Vec<_>>()];
    lines.extend(rows.iter().map(cells));
    let mut text = align(&lines);
    if rows.iter().any(|row| !row.effective_w.is_empty()) {
        text.push_str("\n\nThe w that the model follows:\n");
        text.push_str(&table_of_w(rows));
        if rows.iter().any(is_far_off) {
            text.push_str(FAR_OFF);
        }
    }
    if let Some(row) = rows.first() {
        text.push_str("\n\n");
        text.push_str(&definition(row, lpips));
    }
    text
}

fn cells(row: &Row) -> Vec<String> {
    let or_dash = |number: Option<f64>| number.map_or("-".into(), |n| n.to_string());
    let found = &row.fidelity;
    let mut cells = vec![
        row.sampler.clone(),
        row.steps.to_string(),
        or_dash(row.w),
        or_dash(row.w.map(scale_of)),
        interval(found.mse, 4),
        interval(found.psnr, 2),
    ];
    cells.extend(found.lpips.map(|lpips| interval(lpips, 4)));
    let colour = found.colour.iter();
    let colour: Vec<String> = colour
        .map(|c| format!("{:+.1} ± {:.1}", c.mean, c.half_width))
        .collect();
    cells.extend([
        colour.join(", "),
        percent(found.contrast),
        percent(found.sharpness),
        row.network_calls.to_string(),
    ]);
    cells
}

fn table_of_w(rows: &[Row]) -> String {
    let mut lines: Vec<Vec<String>> = rows.iter().map(effective_cells).collect();
    let columns = lines.iter().map(Vec::len).max().unwrap_or_default();
    lines
        .iter_mut()
        .for_each(|line| line.resize(columns, String::new()));
    align(&lines)
}

/// What a w means that is far from the one asked for.
const FAR_OFF: &str = "\nA w far from the one asked for says nothing about guidance: there the model differs from its teacher by much more than guidance changes, because it was trained too little, or for another teacher.";

/// Whether a model's effective w is one that no guidance explains.
fn is_far_off(row: &Row) -> bool {
    let asked = row.w.unwrap_or_default();
    let far = 10.0 * (1.0 + asked.abs());
    let effective = row.effective_w.iter();
    effective
        .map(|e| e.w.mean - asked)
        .any(|off| off.abs() > far)
}

fn effective_cells(row: &Row) -> Vec<String> {
    let asked = row.w.map_or(String::new(), |w| format!(", w = {w}:"));
    let mut cells = vec![format!("{}{asked}", plural(row.steps, "step"))];
    let at = |e: &EffectiveW| format!("{} at t = {}", interval(e.w, 2), e.t);
    cells.extend(row.effective_w.iter().map(at));
    cells
}

fn definition(row: &Row, lpips: Option<&Lpips>) -> String {
    let lpips = lpips.map_or(String::new(), |lpips| format!("; {}", lpips.id()));
    format!(
        "{} images, each against the teacher's from the same noise with the same w ({}, {}, weights {}); MSE of values in [-1, 1]{lpips}; colour: the mean of each channel above the teacher's, in 8-bit values; contrast and sharpness against the teacher's; ± is the half-width of the 95 % interval over the images",
        row.samples,
        row.teacher_sampler,
        plural(row.teacher_steps, "step"),
        row.teacher_weights_hash
    )
}
