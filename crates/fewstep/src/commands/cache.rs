//! `fewstep cache`: the files that the program keeps to save time.

use crate::error::{CliError, CliResult, IntoCliResult};
use crate::numbers::plural;
use crate::output::cache_folder;
use fewstep_data::amount;
use fewstep_generate::{HubModel, hub_models};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// List the files that are kept to save time, and remove them.
///
/// Latents of training images, statistics of real images and the like are made again when they are
/// needed; models from the hub are fetched again. The hub's cache is shared with other programs.
///
/// Example: fewstep cache
///
/// Example: fewstep cache clear latents
///
/// Example: fewstep cache clear runwayml/stable-diffusion-v1-5
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Option<Action>,
    /// Print the list as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(clap::Subcommand)]
enum Action {
    /// List what is kept, and how large it is: what the command does by itself.
    List,
    /// Remove what is kept of some kind, or a model from the hub.
    Clear {
        /// `latents`, `statistics`, `all` of these, or the name of a model on the hub.
        what: String,
    },
}

/// Files that belong together.
#[derive(Serialize)]
struct Entry {
    kind: Kind,
    name: String,
    path: PathBuf,
    bytes: u64,
}

#[derive(Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Latents,
    Statistics,
    Other,
    Hub,
}

impl Kind {
    fn of(name: &str) -> Self {
        let starts = |prefixes: &[&str]| prefixes.iter().any(|prefix| name.starts_with(prefix));
        match () {
            () if starts(&["latents-", "images-"]) => Self::Latents,
            () if starts(&["real-"]) => Self::Statistics,
            () => Self::Other,
        }
    }

    fn describe(self) -> &'static str {
        match self {
            Self::Latents => "latents: training images, encoded",
            Self::Statistics => "statistics: features of real images",
            Self::Other => "other files",
            Self::Hub => "models from the hub",
        }
    }
}

pub(crate) fn run(args: Args) -> CliResult {
    match &args.action {
        Some(Action::Clear { what }) => clear(what),
        Some(Action::List) | None => list(args.json),
    }
}

fn list(json: bool) -> CliResult {
    let entries: Vec<Entry> = own()?.into_iter().chain(hub()).collect();
    if json {
        println!("{:#}", serde_json::json!(entries));
        return Ok(());
    }
    let folder = cache_folder();
    let folder = folder.map_or("no folder".into(), |folder| folder.display().to_string());
    println!("{folder}");
    for kind in [Kind::Latents, Kind::Statistics, Kind::Other, Kind::Hub] {
        let of_kind: Vec<&Entry> = entries.iter().filter(|entry| entry.kind == kind).collect();
        let bytes = of_kind.iter().map(|entry| entry.bytes).sum();
        if kind == Kind::Hub
            && let Some(first) = of_kind.first().and_then(|entry| entry.path.parent())
        {
            println!("{}", first.display());
        }
        if kind != Kind::Other || !of_kind.is_empty() {
            println!("  {:>9}  {}", amount(bytes), kind.describe());
        }
        for entry in of_kind {
            println!("  {:>9}    {}", amount(entry.bytes), entry.name);
        }
    }
    Ok(())
}

fn clear(what: &str) -> CliResult {
    let kinds: &[Kind] = match what {
        "latents" => &[Kind::Latents],
        "statistics" => &[Kind::Statistics],
        "all" => &[Kind::Latents, Kind::Statistics, Kind::Other],
        _ => &[],
    };
    let entries = match kinds {
        [] => hub()
            .into_iter()
            .filter(|entry| entry.name == what)
            .collect(),
        _ => own()?,
    };
    let chosen = entries
        .iter()
        .filter(|entry| kinds.is_empty() || kinds.contains(&entry.kind));
    let chosen: Vec<&Entry> = chosen.collect();
    if chosen.is_empty() && kinds.is_empty() {
        return Err(CliError::input(format!(
            "`{what}` is no kind of files that are kept, and no model of this name is in the hub's cache: choose latents, statistics, all, or a name that `fewstep cache` lists"
        )));
    }
    for entry in &chosen {
        let removed = match entry.path.is_dir() {
            true => std::fs::remove_dir_all(&entry.path),
            false => std::fs::remove_file(&entry.path),
        };
        removed.map_err(|error| {
            CliError::Work(anyhow::anyhow!(
                "cannot remove {}: {error}",
                entry.path.display()
            ))
        })?;
    }
    let bytes = chosen.iter().map(|entry| entry.bytes).sum();
    println!(
        "{} removed, {}",
        plural(chosen.len(), "file"),
        amount(bytes)
    );
    Ok(())
}

/// What is in the program's own folder.
fn own() -> CliResult<Vec<Entry>> {
    let Some(folder) = cache_folder().filter(|folder| folder.is_dir()) else {
        return Ok(vec![]);
    };
    let mut entries = vec![];
    for file in std::fs::read_dir(&folder).input_error()?.flatten() {
        let name = file.file_name().to_string_lossy().into_owned();
        entries.push(Entry {
            kind: Kind::of(&name),
            bytes: bytes_of(&file.path()),
            path: file.path(),
            name,
        });
    }
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(entries)
}

fn hub() -> Vec<Entry> {
    let entry = |model: HubModel| Entry {
        kind: Kind::Hub,
        bytes: bytes_of(&model.folder),
        name: model.name,
        path: model.folder,
    };
    hub_models().into_iter().map(entry).collect()
}

/// The size of a file, or of all files below a folder. Links are not followed.
fn bytes_of(path: &Path) -> u64 {
    let Ok(metadata) = path.symlink_metadata() else {
        return 0;
    };
    if !metadata.is_dir() {
        return metadata.len();
    }
    let below = std::fs::read_dir(path).into_iter().flatten().flatten();
    below.map(|entry| bytes_of(&entry.path())).sum()
}
