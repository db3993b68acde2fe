//! `fewstep merge`: shards into one set of images, or one measurement.

use super::eval::shards::{self, MeasuredShard};
use super::shared::image_shards::{self, ImageShard};
use crate::error::{CliError, CliResult};
use crate::numbers::plural;
use crate::output;
use crate::storage::Storage;
use std::path::PathBuf;

/// Put shards together that `sample --shard` or `eval --shard` wrote.
///
/// Shards of images are checked: all are there once, made with the same model and flags, with every
/// image as it was written. Images from several folders are copied into one (--out).
///
/// From shards of a measurement the metrics are computed, as `eval` prints them. They are those of
/// one process: all metrics, FID included, are computed from the features of all images in their
/// order.
///
/// Example: fewstep merge shards
///
/// Example: fewstep merge node1/set node2/set --out set
///
/// Example: fewstep merge s3://bucket/set --out set
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Folders with shards, or places in object storage.
    #[arg(required = true, value_name = "FOLDER")]
    folders: Vec<PathBuf>,
    /// The place for images [default: where they are, if that is one place], or the JSON file for
    /// the results of a measurement.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Print the results as JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: Args) -> CliResult {
    let places = args.folders.iter().map(|folder| Storage::open(folder));
    let places = places.collect::<CliResult<Vec<_>>>()?;
    let images = ImageShard::find(&places)?;
    // Features are read row by row.
    let near = |place: Storage| place.near("shard-", ".safetensors");
    let places = places
        .into_iter()
        .map(near)
        .collect::<CliResult<Vec<_>>>()?;
    let measured = MeasuredShard::find(&places)?;
    let named = || {
        let names: Vec<String> = places.iter().map(Storage::to_string).collect();
        names.join(", ")
    };
    match (images.is_empty(), measured.is_empty()) {
        (true, true) => Err(CliError::input(format!(
            "no shard is in {}: `fewstep sample --shard` and `fewstep eval --shard` write them",
            named()
        ))),
        (false, false) => Err(CliError::input(format!(
            "shards of images and of measurements are in {}: keep them in different folders",
            named()
        ))),
        (true, false) => {
            if let Some(file) = &args.out {
                output::prepare(file)?;
            }
            shards::merge(measured, args.json, args.out.as_deref())
        }
        (false, true) => {
            let out = match (&args.out, args.folders.as_slice()) {
                (Some(out), _) => out,
                (None, [folder]) => folder,
                (None, _) => {
                    return Err(CliError::input(
                        "the images are in several folders: give one for all of them with --out",
                    ));
                }
            };
            let of = images.len();
            let out = Storage::open(out)?;
            let count = image_shards::merge(images, &places, &out)?;
            let shown = out.to_string();
            match args.json {
                true => println!(
                    "{}",
                    serde_json::json!({ "images": count, "shards": of, "out": shown })
                ),
                false => println!(
                    "{shown}: {} of {}",
                    plural(count, "image"),
                    plural(of, "shard")
                ),
            }
            Ok(())
        }
    }
}
