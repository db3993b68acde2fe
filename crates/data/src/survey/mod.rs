//! Everything that is wrong with a set, rather than only the first thing.

mod folder;
mod report;

pub(crate) use report::Checked;
pub use report::{Problem, SKIP_LIST_HEAD, Survey};

use crate::pairs::GivenImages;
use crate::{Captioned, DataConfig, DataError, DataKind, load};
use report::Surveyor;

/// Reads the whole set that `config` names, with the images given in pairs with them if there are
/// any, and says of every example whether it can be used.
///
/// # Errors
/// When nothing of the set can be read: no files, or settings that do not fit. Sets in one binary
/// file are good as a whole, or not.
pub fn survey(config: &DataConfig, given: Option<GivenImages<'_>>) -> Result<Survey, DataError> {
    match config.kind {
        DataKind::Captioned => captioned(config, given),
        DataKind::Folder => folder::survey(config, given),
        DataKind::Parquet => parquet(config, given),
        DataKind::FashionMnist | DataKind::Mnist | DataKind::Idx | DataKind::Cifar10 => {
            Ok(Survey::of(&load(config)?))
        }
    }
}

fn captioned(config: &DataConfig, given: Option<GivenImages<'_>>) -> Result<Survey, DataError> {
    // Images need no size to be checked.
    let sized = DataConfig {
        size: Some(config.size.unwrap_or(SMALL)),
        ..config.clone()
    };
    let set = Captioned::paired(&sized, given)?;
    let mut surveyor = Surveyor::new(config);
    for chunk in set.checked() {
        for (name, example) in chunk {
            surveyor.take(name, None, example);
        }
    }
    surveyor.finish(set.name())
}

/// The side that images are brought to where the set has none.
const SMALL: usize = 8;

/// Rows with labels or without.
fn parquet(config: &DataConfig, given: Option<GivenImages<'_>>) -> Result<Survey, DataError> {
    let mut surveyor = Surveyor::new(config);
    let classes = crate::parquet::survey(config, given, &mut |name, label, example| {
        surveyor.take(name, label, example);
    })?;
    let mut survey = surveyor.finish(&config.path.display().to_string())?;
    survey.name_classes(&classes);
    Ok(survey)
}
