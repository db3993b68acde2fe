//! The report of a run: one page that needs nothing but a browser, and the figures behind it.

mod html;
mod losses;
mod page;
mod plot;
mod row;
mod scale;

pub(crate) use losses::{LossCurve, read_losses};
pub(crate) use row::{Origin, Row, ratio, read_rows, table, write_rows};

use fewstep_formats::{FormatError, write_atomically};
use std::path::{Path, PathBuf};

/// What a report tells, from top to bottom.
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
    /// What the distance in the rows is called.
    pub metric: &'static str,
    /// What the rows were measured with, in a sentence or two.
    pub measure: String,
    /// How the losses fell.
    pub losses: Vec<LossCurve>,
    /// How it was made: name and value.
    pub facts: Vec<(String, String)>,
    /// The recipe of the run.
    pub recipe: String,
    /// How to go on: what for, and the command.
    pub next: Vec<(String, String)>,
}

/// One number with what it means.
pub(crate) struct Highlight {
    /// The number.
    pub value: String,
    /// What it is.
    pub label: String,
}

/// Grids of images to compare: the same place has the same seed in all of them.
pub(crate) struct Grids {
    /// What to look at.
    pub note: String,
    /// What each row of a grid shows.
    pub row_names: Vec<String>,
    /// The grids, in reading order.
    pub grids: Vec<Grid>,
}

/// One grid of images.
pub(crate) struct Grid {
    /// Who drew it.
    pub name: String,
    /// In what way: steps, calls, quality; one line each.
    pub details: Vec<String>,
    /// Whether the eye should go here first.
    pub is_highlighted: bool,
    /// The image, a PNG file.
    pub png: Vec<u8>,
}

impl Report {
    /// Writes `report.html` and `plot.svg` into a folder; gives the path of the page.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub(crate) fn write(&self, folder: &Path) -> Result<PathBuf, FormatError> {
        write_atomically(
            &folder.join("plot.svg"),
            plot::file(&self.rows, self.metric).as_bytes(),
        )?;
        let path = folder.join("report.html");
        write_atomically(&path, page::page(self).as_bytes())?;
        Ok(path)
    }
}
