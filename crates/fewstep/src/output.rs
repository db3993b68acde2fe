//! Files that a command leaves behind.

use crate::arguments::positive;
use crate::error::{CliError, CliResult};
use fewstep_data::image::{self, Image, encode_png};
use fewstep_formats::write_atomically;
use std::path::{Path, PathBuf};

/// Where drawn images go.
#[derive(clap::Args)]
pub(crate) struct ImageArgs {
    /// One PNG file with all images as a grid [default: samples.png].
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// A folder with one PNG file for each image, in place of the grid.
    #[arg(long, value_name = "FOLDER", conflicts_with = "out")]
    out_dir: Option<PathBuf>,
    /// Columns of the grid [default: about square, whole turns through the classes in a row].
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

    /// The file, for a sheet whose rows have a meaning.
    pub(crate) fn sheet(&self) -> CliResult<PathBuf> {
        let given = [
            (self.out_dir.is_some(), "--out-dir"),
            (self.columns.is_some(), "--columns"),
        ];
        match given.iter().find(|(given, _)| *given) {
            None => Ok(self.grid()),
            Some((_, flag)) => Err(CliError::input(format!(
                "{flag} does not go with this model, which draws from images: its images come as one file with a row for each image, so give --out"
            ))),
        }
    }

    /// Makes the folder before the work starts.
    pub(crate) fn prepare(&self) -> CliResult {
        match &self.out_dir {
            Some(folder) => prepare(&folder.join("0.png")),
            None => prepare(&self.grid()),
        }
    }

    /// Writes all images, the first of which has the number `first`; `columns` of the grid suit a user who gave
    /// none. An image carries the text that `parameters` has for it (a grid, that of its first).
    pub(crate) fn write(
        &self,
        images: &[Image],
        first: u64,
        columns: usize,
        parameters: impl Fn(usize) -> Option<String>,
    ) -> CliResult {
        let Some(folder) = &self.out_dir else {
            let sheet = image::grid(images, self.columns.unwrap_or(columns), 1);
            return write_png(&self.grid(), &sheet, parameters(0));
        };
        for (index, image) in images.iter().enumerate() {
            let name = format!("{:06}.png", first + index as u64);
            write_png(&folder.join(name), image, parameters(index))?;
        }
        Ok(())
    }
}

/// Makes the folder for a file before the work starts, so that the work is not lost for want of a place.
pub(crate) fn prepare(file: &Path) -> CliResult {
    let folder = file.parent().unwrap_or(Path::new(""));
    if folder.as_os_str().is_empty() {
        return Ok(());
    }
    std::fs::create_dir_all(folder).map_err(|error| {
        let folder = folder.display();
        CliError::input(format!(
            "cannot make the folder {folder} ({error}): choose another place for {}",
            file.display()
        ))
    })
}

/// Writes a file whole or not at all.
pub(crate) fn write(file: &Path, bytes: &[u8]) -> CliResult {
    write_atomically(file, bytes).map_err(|error| {
        CliError::input(format!("{error}. Free some space or choose another place"))
    })
}

/// Writes an image as PNG.
pub(crate) fn write_image(file: &Path, image: &Image) -> CliResult {
    write_png(file, image, None)
}

/// Writes an image as PNG, with how it was made where that is told.
fn write_png(file: &Path, image: &Image, parameters: Option<String>) -> CliResult {
    let mut bytes = encode_png(image).map_err(CliError::input)?;
    if let Some(parameters) = parameters {
        bytes = image::with_parameters(&bytes, &parameters);
    }
    write(file, &bytes)
}

/// Where things are kept that can be made again: `$XDG_CACHE_HOME/fewstep`, by default `~/.cache/fewstep`.
pub(crate) fn cache_folder() -> Option<PathBuf> {
    let base = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .filter(|p| p.is_absolute());
    let base = base.or_else(|| Some(std::env::home_dir()?.join(".cache")));
    base.map(|base| base.join("fewstep"))
}
