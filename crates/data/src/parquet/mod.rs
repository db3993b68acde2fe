//! Hugging Face parquet: a column of encoded images and one of labels.

mod columns;
mod expansion;
mod files;
mod footer;
mod labels;
mod pages;
mod survey;
mod table;
mod thrift;

use crate::classes::numbered_classes;
use crate::collector::{CHUNK, ImageCollector};
use crate::dataset::spread;
use crate::image::dimensions;
use crate::skip::{Skip, name_of};
use crate::{DataConfig, DataError, Dataset};
pub(crate) use columns::Wanted;
use files::files;
pub(crate) use files::{in_folder, in_part};
use labels::named_classes;
use std::path::Path;
pub(crate) use survey::survey;
pub(crate) use table::Example;
pub(crate) use table::Table;

/// Reads the images and labels of a parquet file, or of a folder of them (or of its sub-folder
/// `data`, or that of the split). Where files are named after splits (`train-00000-of-00004.parquet`), only those of
/// `split` are read. `collector` decodes the images.
pub(crate) fn read(
    path: &Path,
    config: &DataConfig,
    mut collector: ImageCollector,
) -> Result<Dataset, DataError> {
    let tables = tables(path, config)?;
    let labelled = all_labelled(&tables)?;
    warn_of_labels(&tables);
    let classes = class_names(&tables);

    let rows: usize = tables.iter().map(Table::rows).sum();
    let images = rows.min(config.limit.unwrap_or(usize::MAX));
    collector.check_memory(images, &path.display().to_string())?;

    let mut labels = Vec::new();
    chunks(&tables, config, |table, chunk| {
        for example in chunk.iter().filter(|_| labelled) {
            labels.push(table.label(example, &classes)?);
        }
        collector.extend(
            chunk,
            |example| Ok(example.image.clone()),
            |example| table.origin(example.row),
        )
    })?;

    let name = path.display().to_string();
    let (Some(shape), pixels) = collector.finish() else {
        return Err(DataError::Empty {
            origin: name,
            hint: "its parquet files have no rows".into(),
        });
    };
    Dataset::from_parts(name, shape, pixels, labelled.then_some(labels), classes)
}

/// Width and height of each image that is read, and its place.
pub(crate) fn sizes(
    path: &Path,
    config: &DataConfig,
) -> Result<Vec<([u32; 2], String)>, DataError> {
    let mut sizes = vec![];
    chunks(&tables(path, config)?, config, |table, chunk| {
        for example in chunk {
            let origin = table.origin(example.row);
            let size = dimensions(example.image.data(), &origin)?;
            sizes.push((size, origin));
        }
        Ok(())
    })?;
    Ok(sizes)
}

/// Hands out the rows that the limit keeps, some at a time.
fn chunks(
    tables: &[Table],
    config: &DataConfig,
    mut take: impl FnMut(&Table, &[Example]) -> Result<(), DataError>,
) -> Result<(), DataError> {
    let skip = Skip::of(config)?;
    let total: usize = tables.iter().map(Table::rows).sum();
    let total = total.saturating_sub(skip.len());
    let mut kept = spread(total, config.limit.unwrap_or(usize::MAX)).peekable();
    let mut next = 0..;
    for table in tables {
        let mut rows = rows(table, config, &skip)?
            .map(|row| (next.next().unwrap_or(usize::MAX), row))
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
            take(table, &chunk)?;
        }
    }
    Ok(())
}

/// The rows of a file that are not left out.
fn rows<'a>(
    table: &'a Table,
    config: &DataConfig,
    skip: &'a Skip,
) -> Result<impl Iterator<Item = Result<Example, DataError>> + 'a, DataError> {
    let name = name_of(table.path(), config);
    let rows = table.examples()?.enumerate();
    let kept = move |(row, _): &(usize, _)| !skip.has(&format!("{name}:{row}"));
    Ok(rows.filter(kept).map(|(_, row)| row))
}

/// Labelled files, and the names of their classes: those in the files, or else numbers up to the
/// largest label; none if the files have no labels.
pub(crate) fn labelled_tables(
    path: &Path,
    config: &DataConfig,
) -> Result<(Vec<Table>, Vec<String>), DataError> {
    let tables = tables(path, config)?;
    if !all_labelled(&tables)? {
        warn_of_labels(&tables);
        return Ok((tables, vec![]));
    }
    let mut classes = class_names(&tables);
    if classes.is_empty() {
        let skip = Skip::of(config)?;
        let mut labels = vec![];
        for table in &tables {
            for row in rows(table, config, &skip)? {
                labels.push(table.label(&row?, &[])?);
            }
        }
        classes = numbered_classes(&labels);
    }
    Ok((tables, classes))
}

/// What one file of a set says of the classes of all.
pub(crate) enum ClassesOfPart {
    /// Their names.
    All(Vec<String>),
    /// The names of those that are labels in it.
    Seen(Vec<String>),
    /// That labels are their numbers.
    Numbers,
    /// Nothing: it has no labels.
    None,
}

/// One file of a set that has others, and what it says of their classes.
pub(crate) fn labelled_part(
    file: &Path,
    config: &DataConfig,
) -> Result<(Vec<Table>, ClassesOfPart), DataError> {
    let tables = tables(file, config)?;
    let classes = match (all_labelled(&tables)?, tables.first()) {
        (true, Some(table)) => match (table.labels_are_names(), table.class_names()) {
            (true, names) => ClassesOfPart::Seen(names.unwrap_or_default()),
            (false, Some(names)) => ClassesOfPart::All(names),
            (false, None) => ClassesOfPart::Numbers,
        },
        _ => {
            warn_of_labels(&tables);
            ClassesOfPart::None
        }
    };
    Ok((tables, classes))
}

/// The files of a set, which agree in what their labels are.
fn tables(path: &Path, config: &DataConfig) -> Result<Vec<Table>, DataError> {
    let wanted = Wanted::of(config);
    let files = files(path, config.split)?;
    let tables = files.iter().map(|file| Table::open(file, &wanted));
    let mut tables = tables.collect::<Result<Vec<Table>, _>>()?;
    all_labelled(&tables)?;
    let named = tables.iter().all(Table::labels_are_names);
    if let Some(odd) = tables
        .iter()
        .find(|table| table.labels_are_names() != named)
    {
        return Err(DataError::Damaged {
            origin: odd.path().display().to_string(),
            reason: "its labels are names, and those of another file of the set are numbers".into(),
        });
    }
    if named {
        let numbers = named_classes(&tables, config)?;
        for table in &mut tables {
            table.number_labels(numbers.clone());
        }
    }
    Ok(tables)
}

fn class_names(tables: &[Table]) -> Vec<String> {
    let named = tables.iter().find_map(Table::class_names);
    named.unwrap_or_default()
}

/// Says which columns may hold labels, where none is read as such.
fn warn_of_labels(tables: &[Table]) {
    if let Some(first) = tables.first() {
        first.warn_of_labels();
    }
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
