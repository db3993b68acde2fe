//! Every row of a set of parquet files, whether it can be used or not.

use super::{Example, Table, Wanted, all_labelled, class_names, tables, warn_of_labels};
use crate::collector::DEFAULT_CHANNELS;
use crate::config::{check, expand_home};
use crate::image::{Content, Decoding, Fit, dimensions};
use crate::pairs::{GivenImages, GivenKind, check_sizes};
use crate::skip::{Skip, name_of};
use crate::survey::Checked;
use crate::{DataConfig, DataError, DataKind};

/// The images given in pairs with those of a file, in another column of it.
struct Given {
    table: Table,
    decoding: Decoding,
    fit: Fit,
}

/// Hands out every row that is not left out, by its name: its label and its image, or what is
/// wrong. Returns the names of the classes.
pub(crate) fn survey(
    config: &DataConfig,
    given: Option<GivenImages<'_>>,
    take: &mut dyn FnMut(String, Option<&str>, Checked),
) -> Result<Vec<String>, DataError> {
    let path = expand_home(&config.path);
    check(config, &path.display().to_string())?;
    let skip = Skip::of(config)?;
    let tables = tables(&path, config)?;
    let mut partners = vec![];
    for file in tables.iter().map(Table::path) {
        let column = given.and_then(|given| Some((given.kind, given.location.column.as_deref()?)));
        partners.push(match column {
            None => None,
            Some((kind, column)) => Some(Given {
                table: Table::open(file, &Wanted::image(column))?,
                decoding: config.decoding(match kind {
                    GivenKind::Images => content(config),
                    GivenKind::DepthMaps => Content::DepthMaps,
                }),
                fit: config.fit,
            }),
        });
    }
    let labelled = all_labelled(&tables)?;
    if config.labels && config.kind == DataKind::Parquet {
        warn_of_labels(&tables);
    }
    let classes = class_names(&tables);
    let decoding = config.decoding(content(config));
    for (table, given) in tables.iter().zip(&partners) {
        let file = name_of(table.path(), config);
        let mut partners = given.as_ref().map(|given| given.table.examples());
        let mut partners = partners.take().transpose()?;
        for (row, example) in table.examples()?.enumerate() {
            let partner = partners.as_mut().and_then(Iterator::next);
            let name = format!("{file}:{row}");
            if skip.has(&name) {
                continue;
            }
            let origin = table.origin(row);
            let checked = example.and_then(|example| {
                let label = labelled.then(|| table.label(&example, &classes));
                let label = label.transpose()?.map(|label| label.to_string());
                decoding.image(example.image.data(), &origin)?;
                if let (Some(given), Some(partner)) = (given, partner) {
                    given.check(&example, &partner?, &origin)?;
                }
                Ok((label, example.image.data().to_vec()))
            });
            match checked {
                Ok((label, image)) => take(name, label.as_deref(), Ok(image)),
                Err(error) => take(name, None, Err(error)),
            }
        }
    }
    Ok(classes)
}

fn content(config: &DataConfig) -> Content {
    Content::Images(config.channels.unwrap_or(DEFAULT_CHANNELS))
}

impl Given {
    /// Whether the image in the same row can be used with an image.
    fn check(&self, image: &Example, partner: &Example, origin: &str) -> Result<(), DataError> {
        let name = format!("the image given with {origin}");
        let [image, given] = [image, partner].map(|example| example.image.data());
        if self.fit != Fit::Stretch {
            let sizes = (dimensions(image, origin)?, dimensions(given, &name)?);
            check_sizes((sizes.0, origin), (sizes.1, &name))?;
        }
        self.decoding.image(given, &name).map(drop)
    }
}
