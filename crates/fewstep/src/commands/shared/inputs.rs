//! Image files that a command takes.

use crate::error::{CliError, CliResult};
use fewstep_data::DataError;
use fewstep_data::image::{self, Image, MAX_PIXELS, read_depth, read_mask};
use std::path::Path;

/// How large they may be.
#[derive(clap::Args, Clone, Copy)]
pub(crate) struct InputArgs {
    /// Pixels that an image file may have; one with more is refused before it is decoded.
    #[arg(long, value_name = "PIXELS", default_value_t = MAX_PIXELS, value_parser = clap::value_parser!(u64).range(1..))]
    max_pixels: u64,
}

impl InputArgs {
    /// Reads an image, of its own size or as a square of this side.
    pub(crate) fn image(
        self,
        file: &Path,
        side: Option<usize>,
        channels: usize,
    ) -> CliResult<Image> {
        read(image::read_up_to(self.max_pixels, file, side, channels))
    }

    /// Reads an image of its own size, and its alpha channel if it has transparent parts.
    pub(crate) fn image_with_alpha(
        self,
        file: &Path,
        channels: usize,
    ) -> CliResult<(Image, Option<Image>)> {
        read(image::read_with_alpha(self.max_pixels, file, channels))
    }

    /// Reads a depth map.
    pub(crate) fn depth(self, file: &Path) -> CliResult<Image> {
        read(read_depth(file, None, self.max_pixels))
    }

    /// Reads a mask.
    pub(crate) fn mask(self, file: &Path) -> CliResult<Image> {
        read(read_mask(file, self.max_pixels))
    }
}

fn read<T>(image: Result<T, DataError>) -> CliResult<T> {
    image.map_err(|error| match error {
        DataError::TooLarge { .. } => CliError::input(format!("{error} (--max-pixels)")),
        error => CliError::Input(error.into()),
    })
}
