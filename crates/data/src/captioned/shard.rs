//! The parts of a set, in all layouts.

use super::example::{Example, Named, caption};
use super::location::column;
use super::{files, metadata, tars};
use crate::classes::{match_classes, match_some, numbers_of, renamed};
use crate::folder::{Item, list};
use crate::listing::entries;
use crate::parquet::{self, ClassesOfPart, Table, Wanted, labelled_part, labelled_tables};
use crate::skip::{Skip, name_of};
use crate::splits::{no_folder, split_files, split_folder, sub_folder};
use crate::{DataConfig, DataError, DataKind, Location, Split};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A part of a set that is read from its start to its end.
#[derive(Debug)]
pub(super) enum Shard {
    /// Image files.
    Files(Vec<files::Listed>),
    /// A tar of the WebDataset layout.
    Tar(tars::Tar),
    /// A parquet file, and the same file again for the column of given images; before them its name
    /// in the set.
    Parquet(String, Box<Table>, Option<Box<Table>>),
    /// A parquet file whose labels stand for these captions.
    Labelled(String, Box<Table>, Arc<[String]>),
}

impl Shard {
    /// The parts of a captioned set, in order; empty if the path has no captioned set.
    pub(super) fn captioned(
        path: &Path,
        config: &DataConfig,
        given: Option<&Location>,
    ) -> Result<Vec<Self>, DataError> {
        let open_tar = |path: &Path| Ok(Self::Tar(tars::Tar::open(path, config, given)?));
        if path.is_file() && has_ending(path, "tar") {
            return Ok(vec![open_tar(path)?]);
        }
        if path.is_file() {
            return Self::parquet(&[path.to_path_buf()], config, given);
        }
        if !metadata::is_in(path)
            && let Some(files) = parquet::in_folder(path, config.split)?
        {
            return Self::parquet(&files, config, given);
        }
        let part = sub_folder(path, config.split)?;
        let folder = part.as_deref().unwrap_or(path);
        let listed = match metadata::with_metadata(folder, None, config, given)? {
            Some(listed) => Some(listed),
            None => metadata::with_metadata(path, part.as_deref(), config, given)?,
        };
        let mut tars = entries(folder)?;
        tars.retain(|path| path.is_file() && has_ending(path, "tar"));
        if listed.is_none() && !tars.is_empty() {
            if part.is_none() {
                tars = split_files(path, tars, "tar", config.split)?;
            }
            let mut opened: Vec<_> = tars.iter().map(|path| open_tar(path)).collect();
            // A tar may have folders of splits, and only those of the others.
            if opened.iter().any(Result::is_ok) {
                opened.retain(|tar| !matches!(tar, Err(DataError::Missing { .. })));
            }
            return opened.into_iter().collect();
        }
        if listed.is_none()
            && let Some(files) = parquet::in_part(path, part.as_deref(), config.split)?
        {
            return Self::parquet(&files, config, given);
        }
        if part.is_none() && config.split == Split::Test {
            return Err(no_folder(path, config.split));
        }
        let listed = match listed {
            Some(listed) => listed,
            None => files::with_texts(folder, config, given)?,
        };
        let found = !listed.is_empty();
        Ok(found.then_some(Self::Files(listed)).into_iter().collect())
    }

    fn parquet(
        files: &[PathBuf],
        config: &DataConfig,
        given: Option<&Location>,
    ) -> Result<Vec<Self>, DataError> {
        let column = given.map(|location| column(location, "column of the parquet files"));
        let column = column.transpose()?;
        let open = |file: &PathBuf| {
            let table = Table::open(file, &Wanted::of(config))?;
            table.check_captions()?;
            let given = column.map(|image| Table::open(file, &Wanted::image(image)));
            Ok(Self::Parquet(
                name_of(file, config),
                Box::new(table),
                given.transpose()?.map(Box::new),
            ))
        };
        files.iter().map(open).collect()
    }

    /// The parts of a set of classes, for a model with these classes.
    pub(super) fn labelled(
        path: &Path,
        config: &DataConfig,
        model: &[String],
    ) -> Result<Vec<Self>, DataError> {
        let captions = |found: Vec<String>| captions_of_labels(path, config, found, model);
        Ok(match config.kind {
            DataKind::Folder => {
                let (items, found) = list(&split_folder(path, config.split)?, config)?;
                let captions = captions(found)?;
                let listed = items
                    .into_iter()
                    .map(|item| files::of_class(item, config, &captions));
                vec![Self::Files(listed.collect())]
            }
            DataKind::Parquet => {
                let (tables, found) = labelled_tables(path, config)?;
                Self::labelled_tables(tables, config, &captions(found)?)
            }
            other => {
                return Err(DataError::Config {
                    key: "data.kind",
                    got: format!("{other:?}"),
                    origin: path.display().to_string(),
                    expected: "\"folder\" or \"parquet\", since images are read one by one".into(),
                });
            }
        })
    }

    /// The same for a parquet file of a set that has others, which are not known.
    pub(super) fn labelled_part(
        file: &Path,
        config: &DataConfig,
        model: &[String],
    ) -> Result<Vec<Self>, DataError> {
        let (tables, classes) = labelled_part(file, config)?;
        let captions = |found| captions_of_labels(file, config, found, model);
        let captions = match classes {
            ClassesOfPart::All(names) => captions(names)?,
            ClassesOfPart::Numbers => captions(numbers_of(model))?,
            ClassesOfPart::None => captions(vec![])?,
            ClassesOfPart::Seen(names) => captions_of_some(file, config, &names, model)?,
        };
        Ok(Self::labelled_tables(tables, config, &captions))
    }

    fn labelled_tables(
        tables: Vec<Table>,
        config: &DataConfig,
        captions: &Arc<[String]>,
    ) -> Vec<Self> {
        let shard = |table: Table| {
            let name = name_of(table.path(), config);
            Self::Labelled(name, Box::new(table), captions.clone())
        };
        tables.into_iter().map(shard).collect()
    }

    /// Images whose labels are the numbers of classes `found`, for a model with these classes.
    pub(super) fn of_classes(
        images: Vec<(PathBuf, u32)>,
        config: &DataConfig,
        found: &[String],
        model: &[String],
    ) -> Result<Self, DataError> {
        let captions = captions_of_labels(&config.path, config, found.to_vec(), model)?;
        let listed = images.into_iter().map(|(path, label)| {
            let label = Some(label);
            files::of_class(Item { path, label }, config, &captions)
        });
        Ok(Self::Files(listed.collect()))
    }

    /// Its examples; `number` is its number among the parts, for messages.
    pub(super) fn examples(&self, number: usize) -> Box<dyn Iterator<Item = Named> + Send + '_> {
        let read = |listed: &files::Listed| (listed.name.clone(), listed.read());
        let rows = |name, rows: Rows| {
            let named = move |(row, example)| (format!("{name}:{row}"), example);
            rows.into_iter().enumerate().map(named)
        };
        match self {
            Self::Files(listed) => Box::new(listed.iter().map(read)),
            Self::Tar(tar) => tar.examples(number),
            Self::Parquet(name, table, given) => {
                Box::new(rows(name, captions_of(table, given.as_deref(), number)))
            }
            Self::Labelled(name, table, names) => {
                Box::new(rows(name, classes_of(table, names, number)))
            }
        }
    }

    /// How many there are without those to leave out.
    pub(super) fn len(&self, skip: &Skip) -> usize {
        let without = |name: &str, all: usize| all.saturating_sub(skip.count_in(name));
        match self {
            Self::Files(listed) => {
                let kept = listed.iter().filter(|listed| !skip.has(&listed.name));
                kept.count()
            }
            Self::Tar(tar) => without(tar.name(), tar.len()),
            Self::Parquet(name, table, _) | Self::Labelled(name, table, _) => {
                without(name, table.rows())
            }
        }
    }
}

/// The name that the model has for each label.
fn captions_of_labels(
    path: &Path,
    config: &DataConfig,
    found: Vec<String>,
    model: &[String],
) -> Result<Arc<[String]>, DataError> {
    let origin = path.display().to_string();
    let found = match &config.class_names {
        Some(names) => renamed(&found, names, &origin)?,
        None => found,
    };
    let numbers = match_classes(&origin, &found, model)?;
    let names = numbers.iter().map(|&number| model[number as usize].clone());
    Ok(names.collect())
}

/// The name that the model has for each class that is seen in a part of a set.
fn captions_of_some(
    file: &Path,
    config: &DataConfig,
    seen: &[String],
    model: &[String],
) -> Result<Arc<[String]>, DataError> {
    let origin = file.display().to_string();
    if let Some(names) = &config.class_names {
        return Err(DataError::Config {
            key: "class_names",
            got: format!("{} names", names.len()),
            origin,
            expected: "none, where labels are names: which is which follows from all files of the set, which must be in a folder of this machine for that".into(),
        });
    }
    let numbers = match_some(&origin, seen, model)?;
    let names = numbers.iter().map(|&number| model[number as usize].clone());
    Ok(names.collect())
}

/// The rows of a parquet file.
type Rows = Vec<Result<Example, DataError>>;

fn captions_of(table: &Table, given: Option<&Table>, number: usize) -> Rows {
    // Rows are read one after another, and the reader cannot go to another thread.
    let rows = |table: &Table| -> Result<Vec<_>, DataError> { Ok(table.examples()?.collect()) };
    let (rows, given) = match (rows(table), given.map(rows).transpose()) {
        (Ok(rows), Ok(given)) => (rows, given),
        (Err(error), _) | (_, Err(error)) => return vec![Err(error)],
    };
    let given = given.into_iter().flatten().map(Some);
    let given = given.chain(std::iter::repeat_with(|| None));
    let example = |(row, given): (Result<_, DataError>, Option<Result<_, _>>)| {
        let row: parquet::Example = row?;
        let origin = format!("shard {number} ({})", table.origin(row.row));
        let caption = caption(row.caption.unwrap_or_default(), &origin)?;
        Ok(Example {
            image: row.image.data().to_vec(),
            given: given
                .transpose()?
                .map(|row: parquet::Example| row.image.data().to_vec()),
            caption,
            origin,
        })
    };
    rows.into_iter().zip(given).map(example).collect()
}

fn classes_of(table: &Table, names: &[String], number: usize) -> Rows {
    let rows = match table.examples() {
        Ok(rows) => rows,
        Err(error) => return vec![Err(error)],
    };
    let example = |row: Result<parquet::Example, DataError>| {
        let row = row?;
        let label = table.label(&row, names)?;
        Ok(Example {
            image: row.image.data().to_vec(),
            given: None,
            caption: names[label as usize].clone(),
            origin: format!("shard {number} ({})", table.origin(row.row)),
        })
    };
    rows.map(example).collect()
}

fn has_ending(path: &Path, wanted: &str) -> bool {
    let ending = path.extension().unwrap_or_default();
    ending.eq_ignore_ascii_case(wanted)
}
