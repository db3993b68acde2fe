//! Hugging Face parquet.
use crate::{DataConfig, DataError, Dataset};
use std::path::Path;
pub(crate) fn read(_path: &Path, _config: &DataConfig) -> Result<Dataset, DataError> {
    todo!()
}
