//! Images of the same seeds from every model.

use super::candidate::Candidate;
use super::stages::Stages;
use crate::error::{CliResult, IntoCliResult};
use fewstep_data::image;
use fewstep_distill::run::Run;

/// Images of each class.
const COLUMNS: usize = 3;

/// The grids before they have captions.
pub(super) struct UncaptionedGrids {
    /// One PNG file per candidate, in their order.
    pub(super) pngs: Vec<Vec<u8>>,
    /// Seconds per image of each candidate.
    pub(super) seconds: Vec<f64>,
}

impl UncaptionedGrids {
    /// Generates all grids, a class to a row, and writes them to the run's `samples` folder.
    pub(super) fn generate(
        candidates: &[Candidate],
        run: &Run,
        stages: &mut Stages,
    ) -> CliResult<Self> {
        let classes = run.examples.classes().len();
        let images = (classes * COLUMNS * candidates.len()) as u64;
        let stage = stages.start("the same seeds", images, "images", 0);
        let mut grids = Self {
            pngs: vec![],
            seconds: vec![],
        };
        for (index, candidate) in candidates.iter().enumerate() {
            let rows: Vec<u32> = (0..classes * COLUMNS)
                .map(|i| (i / COLUMNS) as u32)
                .collect();
            let before = index * classes * COLUMNS;
            let (images, seconds) =
                candidate.generate(&rows, &mut |done| stage.reach(before + done))?;
            let grid = image::grid(&images, COLUMNS, 0);
            let name = format!(
                "{}-{}.png",
                candidate.origin.name().replace(' ', "-"),
                candidate.sampled.steps
            );
            let png = image::encode_png(&grid).work_error()?;
            let path = run.folder.join("samples").join(name);
            fewstep_formats::write_atomically(&path, &png).input_error()?;
            grids.pngs.push(png);
            grids.seconds.push(seconds);
        }
        stage.finish("generated");
        Ok(grids)
    }
}
