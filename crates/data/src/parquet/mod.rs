//! Hugging Face parquet: a column of encoded images and one of labels.

mod columns;
mod table;

use crate::collector::{CHUNK, ImageCollector};
use crate::dataset::spread;
use crate::folder::entries;
use crate::{DataConfig, DataError, Dataset, Split};
use std::path::{Path, PathBuf};
use table::Example;
pub(crate) use table::Table;

/// Reads the images and labels of a parquet file, or of a folder of them (or of its sub-folder
/// `data`). Where files are named after splits (`train-00000-of-00004.parquet`), only those of
/// `split` are read. `collector` decodes the images.
pub(crate) fn read(
    path: &Path,
    config: &DataConfig,
    mut collector: ImageCollector,
) -> Result<Dataset, DataError> {
    let tables = tables(path, config)?;
    let labelled = all_labelled(&tables)?;
    let classes = class_names(&tables);

    let total = tables.iter().map(Table::rows).sum();
    let mut kept = spread(total, config.limit.unwrap_or(usize::MAX)).peekable();
    let mut labels = Vec::new();
    let mut start = 0;
    for table in &tables {
        let mut rows = (start..start + table.rows())
            .zip(table.examples()?)
            .filter(|(i, row)| row.is_err() || kept.next_if_eq(i).is_some());
        loop {
            let chunk = rows
                .by_ref()
                .take(CHUNK)
                .map(|(_, row)| row)
                .collect::<Result<Vec<Example>, _>>()?;
            if chunk.is_empty() {
                break;
            }
            for example in chunk.iter().filter(|_| labelled) {
                labels.push(table.label(example, &classes)?);
            }
            collector.extend(
                &chunk,
                |example| Ok(example.image.clone()),
                |example| table.origin(example.row),
            )?;
        }
        start += table.rows();
    }

    let name = path.display().to_string();
    let (Some(shape), pixels) = collector.finish() else {
        return Err(DataError::Empty {
            origin: name,
            hint: "its parquet files have no rows".into(),
        });
    };
    Dataset::from_parts(name, shape, pixels, labelled.then_some(labels), classes)
}

/// Labelled files, and how many classes they have: as many as they name, or else one more than the
/// largest label.
pub(crate) fn labelled_tables(
    path: &Path,
    config: &DataConfig,
) -> Result<(Vec<Table>, usize), DataError> {
    let tables = tables(path, config)?;
    if !all_labelled(&tables)? {
        return Ok((tables, 0));
    }
    let mut classes = class_names(&tables).len();
    if classes == 0 {
        for table in &tables {
            for row in table.examples()? {
                classes = classes.max(1 + table.label(&row?, &[])? as usize);
            }
        }
    }
    Ok((tables, classes))
}

fn tables(path: &Path, config: &DataConfig) -> Result<Vec<Table>, DataError> {
    files(path, config.split)?
        .iter()
        .map(|file| Table::open(file, config.column.as_deref()))
        .collect()
}

fn class_names(tables: &[Table]) -> Vec<String> {
    let named = tables.iter().find_map(Table::class_names);
    named.unwrap_or_default()
}

/// Whether the files have labels: all of them, or none.
fn all_labelled(tables: &[Table]) -> Result<bool, DataError> {
    let labelled = tables.iter().all(Table::labelled);
    match tables.iter().find(|table| table.labelled() != labelled) {
        None => Ok(labelled),
        Some(odd) => Err(DataError::Damaged {
            origin: odd.path().display().to_string(),
            reason: "it has a label column, and another file of the set has none".into(),
        }),
    }
}

/// The parquet files of a split, sorted by name.
pub(crate) fn files(path: &Path, split: Split) -> Result<Vec<PathBuf>, DataError> {
    if path.is_file() {
        return Ok(vec![path.to_path_buf()]);
    }
    let inner = path.join("data");
    let mut all = parquet_files(path)?;
    if all.is_empty() && inner.is_dir() {
        all = parquet_files(&inner)?;
    }
    let of = |name: &str| {
        all.iter()
            .filter(|file| has_prefix(file, name))
            .cloned()
            .collect::<Vec<_>>()
    };
    let named = |split: Split| {
        split
            .names()
            .iter()
            .map(|name| of(name))
            .find(|files| !files.is_empty())
    };
    let divided = named(Split::Train).is_some() || named(Split::Test).is_some();
    match named(split) {
        Some(files) => Ok(files),
        None if !divided && split == Split::Train && !all.is_empty() => Ok(all),
        None => Err(DataError::Missing {
            path: path.to_path_buf(),
            wanted: format!(
                "`*.parquet` file for the split (`{}-*.parquet`)",
                split.names().join("-*.parquet`, `")
            ),
            hint: "set `path` to the folder of the parquet files, or to one file".into(),
        }),
    }
}

fn parquet_files(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let is_parquet = |path: &PathBuf| {
        path.extension()
            .is_some_and(|extension| extension == "parquet")
            && path.is_file()
    };
    Ok(entries(folder)?.into_iter().filter(is_parquet).collect())
}

/// Whether a file's name is `prefix`, or `prefix` and something set off by a sign.
fn has_prefix(file: &Path, prefix: &str) -> bool {
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    stem.strip_prefix(prefix)
        .is_some_and(|rest| !rest.starts_with(char::is_alphanumeric))
}
