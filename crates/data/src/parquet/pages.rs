//! What a parquet file says of its pages, checked before its reader takes memory for it.

use super::columns::Columns;
use parquet::column::page::Page;
use parquet::errors::{ParquetError, Result};
use parquet::file::reader::FileReader;

/// Bytes of the smallest value in a dictionary: the length of an empty text, a number of 32 bits.
const SMALLEST: usize = 4;

/// Refuses dictionaries of more values than their bytes can hold, in the columns that are read:
/// the reader takes memory for as many as their page names.
pub(super) fn check_dictionaries(reader: &impl FileReader, columns: &Columns) -> Result<()> {
    for (number, group) in reader.metadata().row_groups().iter().enumerate() {
        let read = reader.get_row_group(number)?;
        for (index, column) in group.columns().iter().enumerate() {
            let name = column.column_path().parts().first();
            if !name.is_some_and(|name| columns.has(name)) {
                continue;
            }
            let mut pages = read.get_column_page_reader(index)?;
            while let Some(page) = pages.peek_next_page()? {
                if !page.is_dict {
                    pages.skip_next_page()?;
                    continue;
                }
                if let Some(Page::DictionaryPage {
                    buf, num_values, ..
                }) = pages.get_next_page()?
                    && num_values as usize > buf.len() / SMALLEST
                {
                    return Err(ParquetError::General(format!(
                        "a dictionary of {} bytes says that it has {num_values} values",
                        buf.len()
                    )));
                }
            }
        }
    }
    Ok(())
}
