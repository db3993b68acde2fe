//! The same seeds through every model.

use super::measure::Subject;
use super::stages::Stages;
use crate::failure::{Blame, Outcome};
use fewstep_data::picture;
use fewstep_distill::run::Run;

/// Pictures of each class.
const COLUMNS: usize = 3;

/// The grids before they have captions.
pub(super) struct Draft {
    /// One PNG file per subject, in their order.
    pub(super) pngs: Vec<Vec<u8>>,
    /// Seconds that a picture took each of them.
    pub(super) seconds: Vec<f64>,
}

impl Draft {
    /// Draws all grids, a class to a row, and writes them to the run's `samples` folder.
    pub(super) fn draw(subjects: &[Subject], run: &Run, stages: &mut Stages) -> Outcome<Self> {
        let classes = run.examples.classes().len();
        let pictures = (classes * COLUMNS * subjects.len()) as u64;
        let stage = stages.start("the same seeds", pictures, "pictures", 0);
        let mut draft = Self {
            pngs: vec![],
            seconds: vec![],
        };
        for (index, subject) in subjects.iter().enumerate() {
            let rows = (0..classes * COLUMNS).map(|i| Some((i / COLUMNS) as u32));
            let before = index * classes * COLUMNS;
            let (pictures, seconds) =
                subject.draw(rows.collect(), &mut |done| stage.reach(before + done))?;
            let grid = picture::grid(&pictures, COLUMNS, 0);
            let name = format!("{}-{}.png", subject.origin.name(), subject.steps);
            let png = picture::encode_png(&grid).blame_work()?;
            let path = run.folder.join("samples").join(name);
            fewstep_formats::write_atomically(&path, &png).blame_input()?;
            draft.pngs.push(png);
            draft.seconds.push(seconds);
        }
        stage.finish("drawn");
        Ok(draft)
    }
}
