//! The report of a run: one page for a browser, and the results in it.

mod fidelity;
mod html;
mod losses;
mod page;
mod plot;
mod row;
mod scale;

pub(crate) use losses::{LossCurve, read_losses};
pub(crate) use row::{Origin, Row, ToTeacher, ratio, read_rows, reference, table, write_rows};

#[cfg(test)]
pub(crate) use row::tests::row as row_for_tests;

use fewstep_formats::{FormatError, write_atomically};
use std::path::{Path, PathBuf};

/// The contents of a report, from top to bottom.
pub(crate) struct Report {
    /// The line above the headline: which command, which data.
    pub source: String,
    /// The headline.
    pub title: String,
    /// The sentence below it.
    pub lead: String,
    /// The few numbers that matter.
    pub highlights: Vec<Highlight>,
    /// What happened, paragraph by paragraph.
    pub summary: Vec<String>,
    /// The same seeds through each model.
    pub grids: Grids,
    /// How good each model is.
    pub rows: Vec<Row>,
    /// The w of the plot and of the images.
    pub w: f64,
    /// The name of the distance in the rows.
    pub metric: &'static str,
    /// What the rows were measured with, in a sentence or two.
    pub measure: String,
    /// How the losses fell.
    pub losses: Vec<LossCurve>,
    /// How it was made: name and value.
    pub facts: Vec<(String, String)>,
    /// The recipe of the run.
    pub recipe: String,
    /// What to try next: a sentence and the command.
    pub next: Vec<(String, String)>,
}

/// One number, and what it means.
pub(crate) struct Highlight {
    /// The number.
    pub value: String,
    /// What it is.
    pub label: String,
}

/// Grids of images to compare: the same place has the same seed in all of them.
pub(crate) struct Grids {
    /// A sentence about the grids.
    pub note: String,
    /// What each row of a grid shows.
    pub row_names: Vec<String>,
    /// The grids, in reading order.
    pub grids: Vec<Grid>,
}

/// One grid of images.
pub(crate) struct Grid {
    /// The model.
    pub name: String,
    /// Network calls and quality, a line for each.
    pub details: Vec<String>,
    /// Whether it is the most important one.
    pub is_highlighted: bool,
    /// The image, a PNG file.
    pub png: Vec<u8>,
}

impl Report {
    /// The rows of the plot.
    fn shown(&self) -> Vec<Row> {
        let rows = self.rows.iter();
        rows.filter(|row| row.w == self.w).cloned().collect()
    }

    /// Writes `report.html` and `plot.svg` into a folder; returns the path of the page.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub(crate) fn write(&self, folder: &Path) -> Result<PathBuf, FormatError> {
        write_atomically(
            &folder.join("plot.svg"),
            plot::file(&self.shown(), self.metric).as_bytes(),
        )?;
        let path = folder.join("report.html");
        write_atomically(&path, page::page(self).as_bytes())?;
        Ok(path)
    }
}
