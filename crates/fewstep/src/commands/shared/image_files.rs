//! The flags for the files that images are written to.

use crate::error::{CliError, CliResult};
use crate::output;
use crate::parsers::positive;
use fewstep_data::image::{self, Image};
use std::path::PathBuf;

/// Where images are written.
#[derive(clap::Args)]
pub(crate) struct ImageArgs {
    /// Write all images as a grid to this file: PNG, JPEG or WebP, as its name ends [default:
    /// samples.png].
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Write one PNG file per image into this folder, instead of a grid.
    #[arg(long, value_name = "FOLDER", conflicts_with = "out")]
    out_dir: Option<PathBuf>,
    /// Columns of the grid [default: about square, with a multiple of the number of classes].
    #[arg(long, value_parser = positive, conflicts_with = "out_dir")]
    columns: Option<usize>,
}

impl ImageArgs {
    /// The folder, or the file of the grid.
    pub(crate) fn place(&self) -> PathBuf {
        self.out_dir.clone().unwrap_or_else(|| self.grid())
    }

    fn grid(&self) -> PathBuf {
        self.out.clone().unwrap_or_else(|| "samples.png".into())
    }

    /// The file, for a grid whose rows have a meaning.
    pub(crate) fn sheet(&self) -> CliResult<PathBuf> {
        let flags = [
            (self.out_dir.is_some(), "--out-dir"),
            (self.columns.is_some(), "--columns"),
        ];
        match flags.iter().find(|(is_set, _)| *is_set) {
            None => Ok(self.grid()),
            Some((_, flag)) => Err(CliError::input(format!(
                "{flag} does not go with this model, which generates from control images: they are written to one file with a row for each image, so use --out"
            ))),
        }
    }

    /// Makes the folder before the work starts.
    pub(crate) fn prepare(&self) -> CliResult {
        match &self.out_dir {
            Some(folder) => output::prepare(&folder.join("0.png")),
            None => output::prepare_image(&self.grid()),
        }
    }

    /// Writes all images. The first one has the number `first`; the grid has `columns` without
    /// --columns. Each file contains the text that `parameters` gives for its image, a grid that of
    /// its first image.
    pub(crate) fn write(
        &self,
        images: &[Image],
        first: u64,
        columns: usize,
        parameters: impl Fn(usize) -> Option<String>,
    ) -> CliResult {
        let Some(folder) = &self.out_dir else {
            let sheet = image::grid(images, self.columns.unwrap_or(columns), 1);
            return output::write_image_with(&self.grid(), &sheet, parameters(0));
        };
        for (index, image) in images.iter().enumerate() {
            let name = format!("{:06}.png", first + index as u64);
            output::write_image_with(&folder.join(name), image, parameters(index))?;
        }
        Ok(())
    }
}
