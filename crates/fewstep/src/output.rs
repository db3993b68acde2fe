//! Files that a command leaves behind.

use crate::failure::{Failure, Outcome};
use fewstep_data::picture::{Picture, encode_png};
use fewstep_formats::write_atomically;
use std::path::Path;

/// Makes the folder for a file before the work starts, so that the work is not lost for want of a place.
pub(crate) fn prepare(file: &Path) -> Outcome {
    let folder = file.parent().unwrap_or(Path::new(""));
    if folder.as_os_str().is_empty() {
        return Ok(());
    }
    std::fs::create_dir_all(folder).map_err(|error| {
        let folder = folder.display();
        Failure::input(format!(
            "cannot make the folder {folder} ({error}): choose another place for {}",
            file.display()
        ))
    })
}

/// Writes a file whole or not at all.
pub(crate) fn write(file: &Path, bytes: &[u8]) -> Outcome {
    write_atomically(file, bytes).map_err(|error| {
        Failure::input(format!("{error}. Free some space or choose another place"))
    })
}

/// Writes a picture as PNG.
pub(crate) fn write_picture(file: &Path, picture: &Picture) -> Outcome {
    write(file, &encode_png(picture).map_err(Failure::input)?)
}
