//! The same seeds through every model.

use super::measure::Subject;
use super::stages::Stages;
use crate::failure::{Blame, CliResult};
use fewstep_data::image;
use fewstep_distill::run::Run;

/// Images of each class.
const COLUMNS: usize = 3;

/// The grids before they have captions.
pub(super) struct Draft {
    /// One PNG file per subject, in their order.
    pub(super) pngs: Vec<Vec<u8>>,
    /// Seconds that an image took each of them.
    pub(super) seconds: Vec<f64>,
}

impl Draft {
    /// Draws all grids, a class to a row, and writes them to the run's `samples` folder.
    pub(super) fn draw(subjects: &[Subject], run: &Run, stages: &mut Stages) -> CliResult<Self> {
        let classes = run.examples.classes().len();
        let images = (classes * COLUMNS * subjects.len()) as u64;
        let stage = stages.start("the same seeds", images, "images", 0);
        let mut draft = Self {
            pngs: vec![],
            seconds: vec![],
        };
        for (index, subject) in subjects.iter().enumerate() {
            let rows = (0..classes * COLUMNS).map(|i| Some((i / COLUMNS) as u32));
            let before = index * classes * COLUMNS;
            let (images, seconds) =
                subject.draw(rows.collect(), &mut |done| stage.reach(before + done))?;
            let grid = image::grid(&images, COLUMNS, 0);
            let name = format!("{}-{}.png", subject.origin.name(), subject.steps);
            let png = image::encode_png(&grid).blame_work()?;
            let path = run.folder.join("samples").join(name);
            fewstep_formats::write_atomically(&path, &png).blame_input()?;
            draft.pngs.push(png);
            draft.seconds.push(seconds);
        }
        stage.finish("drawn");
        Ok(draft)
    }
}
