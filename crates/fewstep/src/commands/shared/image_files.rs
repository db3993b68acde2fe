//! The flags for the files that images are written to.

use crate::error::CliResult;
use crate::output;
use crate::parsers::count;
use crate::spared::{spare_inputs, spare_results};
use crate::storage::{Storage, is_url};
use fewstep_data::image::{self, Image};
use std::path::{Path, PathBuf};

/// Where images are written.
#[derive(clap::Args)]
pub(crate) struct ImageArgs {
    /// Write the image to this file, or several images as a grid: PNG, JPEG or WebP, as its name
    /// ends [default: samples.png].
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Write one PNG file per image into this folder or place in object storage, instead of a grid.
    #[arg(long, value_name = "FOLDER", conflicts_with = "out")]
    out_dir: Option<PathBuf>,
    /// Columns of the grid [default: about square, with a multiple of the number of classes, or of
    /// the images of each control image].
    #[arg(long, value_parser = count, conflicts_with = "out_dir")]
    columns: Option<usize>,
}

impl ImageArgs {
    /// The folder, or the file.
    pub(crate) fn place(&self) -> PathBuf {
        self.out_dir.clone().unwrap_or_else(|| self.file())
    }

    /// Where one file per image goes: --out-dir or --out, which then is a place for many too; none
    /// if neither is given.
    pub(crate) fn take_folder(&mut self) -> CliResult<Option<Storage>> {
        if let Some(folder) = self.out.take() {
            self.out_dir = Some(folder);
        }
        self.out_dir.as_deref().map(Storage::open).transpose()
    }

    fn file(&self) -> PathBuf {
        self.out.clone().unwrap_or_else(|| "samples.png".into())
    }

    /// The file that is written, or the one in the folder that has this name, if any has.
    fn results(&self, name: &Path) -> Vec<PathBuf> {
        let Some(folder) = &self.out_dir else {
            return vec![self.file()];
        };
        let number = name
            .file_stem()
            .and_then(|stem| stem.to_str()?.parse().ok());
        number
            .map(|number| numbered(folder, number))
            .into_iter()
            .collect()
    }

    /// Checks the place before any work.
    pub(crate) fn check(&self) -> CliResult {
        match &self.out_dir {
            Some(folder) if is_url(folder) => Storage::open(folder).map(drop),
            Some(folder) => output::prepare(&numbered(folder, 0)),
            None => output::prepare_image(&self.file()),
        }
    }

    /// Refuses to write over inputs, once it is known how many files there will be: the file that is
    /// written without --out is on no command line.
    pub(crate) fn check_numbered(&self, first: u64, count: usize, inputs: &[&Path]) -> CliResult {
        let Some(folder) = &self.out_dir else {
            return spare_inputs(&self.file(), inputs);
        };
        if !folder.is_dir() {
            return Ok(());
        }
        let mut numbers = first..first + count as u64;
        numbers.try_for_each(|number| spare_inputs(&numbered(folder, number), inputs))
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
            let columns = self.columns.unwrap_or(columns);
            return match images {
                [image] => output::write_image_with(&self.file(), image, parameters(0)),
                _ => {
                    let grid = image::grid(images, columns, 1);
                    output::write_image_with(&self.file(), &grid, parameters(0))
                }
            };
        };
        let files = images.iter().enumerate().map(|(index, image)| {
            let name = numbered_name(first + index as u64);
            let bytes = output::encoded(Path::new(&name), image, parameters(index))?;
            Ok((name, bytes))
        });
        Storage::open(folder)?.put_all(files)
    }
}

fn numbered(folder: &Path, number: u64) -> PathBuf {
    folder.join(numbered_name(number))
}

/// The name of the file of an image in a folder.
pub(crate) fn numbered_name(number: u64) -> String {
    format!("{number:06}.png")
}

/// The flag for a sheet that shows input images with their results.
#[derive(clap::Args)]
pub(crate) struct SheetArgs {
    /// Also write a sheet to this file, PNG, JPEG or WebP: a row for each input image, first
    /// itself, then the images generated from it.
    #[arg(long, value_name = "FILE")]
    sheet: Option<PathBuf>,
}

impl SheetArgs {
    /// Checks the place before any work.
    pub(crate) fn check(&self, images: &ImageArgs) -> CliResult {
        let Some(file) = &self.sheet else {
            return Ok(());
        };
        let mut images = images.results(file);
        images.push(file.clone());
        spare_results(&images)?;
        output::prepare_image(file)
    }

    /// Writes it: every input with its share of the images.
    pub(crate) fn write(&self, inputs: &[Image], images: &[Image]) -> CliResult {
        let Some(file) = &self.sheet else {
            return Ok(());
        };
        let each = (images.len() / inputs.len().max(1)).max(1);
        let rows = inputs.iter().zip(images.chunks(each));
        let cells = rows.flat_map(|(input, images)| [std::slice::from_ref(input), images].concat());
        let cells: Vec<Image> = cells.collect();
        output::write_image(file, &image::grid(&cells, 1 + each, 1))
    }
}
