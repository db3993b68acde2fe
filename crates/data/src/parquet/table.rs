//! One parquet file of images, and its rows.

use super::columns::{Columns, Values, Wanted};
use super::footer;
use super::labels::{ClassNumbers, Label};
use super::pages::check_pages;
use crate::DataError;
use crate::classes::MAX_CLASSES;
use parquet::basic::Compression;
use parquet::data_type::ByteArray;
use parquet::errors::Result as ParquetResult;
use parquet::file::metadata::ParquetMetaData;
use parquet::file::reader::FileReader;
use parquet::file::serialized_reader::SerializedFileReader;
use parquet::record::Row;
use parquet::schema::types::Type;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

/// The first and the last four bytes of a parquet file.
const MAGIC: [u8; 4] = *b"PAR1";
/// Two magic numbers and the length of the footer.
const SHORTEST: u64 = 12;

/// One open file, its columns found.
pub(crate) struct Table {
    path: PathBuf,
    file: File,
    reader: SerializedFileReader<File>,
    columns: Columns,
    rows: usize,
    /// The numbers of the classes, where labels are names.
    numbers: ClassNumbers,
}

/// One row.
pub(crate) struct Example {
    /// Its number in the file.
    pub(crate) row: usize,
    /// The encoded image.
    pub(crate) image: ByteArray,
    /// The label; none in an unlabelled file.
    pub(super) label: Option<i64>,
    /// The caption; none in a file without captions.
    pub(crate) caption: Option<String>,
}

impl std::fmt::Debug for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Table({}, {} rows)", self.path.display(), self.rows)
    }
}

impl Table {
    /// Opens a file and finds its columns.
    pub(crate) fn open(path: &Path, wanted: &Wanted<'_>) -> Result<Self, DataError> {
        let mut file = File::open(path).map_err(DataError::read(path))?;
        check_magic(path, &mut file)?;
        check_footer(path, &mut file)?;
        let reader = file.try_clone().map_err(DataError::read(path))?;
        let reader = guarded(path, || SerializedFileReader::new(reader))?;
        let metadata = reader.metadata();
        let fields = metadata.file_metadata().schema().get_fields();
        let columns = Columns::find(path, fields, wanted)?;
        check_compression(path, metadata)?;
        let rows = count_rows(path, metadata)?;
        Ok(Self {
            path: path.to_path_buf(),
            file,
            reader,
            columns,
            rows,
            numbers: ClassNumbers::default(),
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    pub(super) fn labelled(&self) -> bool {
        self.columns.label_name().is_some()
    }

    /// Whether labels are the names of classes.
    pub(super) fn labels_are_names(&self) -> bool {
        self.columns.labels_are_names()
    }

    /// Says which class each name is.
    pub(super) fn number_labels(&mut self, numbers: ClassNumbers) {
        self.numbers = numbers;
    }

    /// Refuses a file without captions.
    pub(crate) fn check_captions(&self) -> Result<(), DataError> {
        let fields = self.reader.metadata().file_metadata().schema().get_fields();
        self.columns.check_captions(&self.path, fields)
    }

    /// Says which columns may hold labels, where none is read as such.
    pub(super) fn warn_of_labels(&self) {
        let fields = self.reader.metadata().file_metadata().schema().get_fields();
        let passed_over = self.columns.passed_over(fields);
        if !passed_over.is_empty() {
            tracing::warn!(
                file = %self.path.display(),
                "read without classes; `{}` may hold labels: set `data.label` to the column that does",
                passed_over.join("`, `")
            );
        }
    }

    /// The names of the classes: the labels, or those in the description that Hugging Face's
    /// `datasets` leaves in its files.
    pub(super) fn class_names(&self) -> Option<Vec<String>> {
        if self.labels_are_names() {
            return Some(self.numbers.keys().cloned().collect());
        }
        let entries = self
            .reader
            .metadata()
            .file_metadata()
            .key_value_metadata()?;
        let text = entries
            .iter()
            .find(|entry| entry.key == "huggingface")?
            .value
            .as_deref()?;
        let description: serde_json::Value = serde_json::from_str(text).ok()?;
        let names = &description["info"]["features"][self.columns.label_name()?]["names"];
        names
            .as_array()?
            .iter()
            .map(|name| name.as_str().map(String::from))
            .collect()
    }

    /// The labels of all rows, in order, without reading the images.
    pub(super) fn labels(
        &self,
    ) -> Result<impl Iterator<Item = Result<Option<Label>, DataError>>, DataError> {
        let rows = self.read(Columns::label_projection)?;
        Ok(rows.map(|row| Ok(self.columns.label(row?))))
    }

    /// All rows, in order, with these columns. The first one that cannot be read is the last: a
    /// reader that has failed may fail for ever.
    fn read(
        &self,
        projection: impl FnOnce(&Columns, &str) -> ParquetResult<Type>,
    ) -> Result<impl Iterator<Item = Result<Row, DataError>>, DataError> {
        guarded(&self.path, || {
            check_pages(&self.file, self.reader.metadata(), &self.columns)
        })?;
        let root = self.reader.metadata().file_metadata().schema().name();
        let projection = guarded(&self.path, || projection(&self.columns, root))?;
        let mut rows = guarded(&self.path, || self.reader.get_row_iter(Some(projection)))?;
        let mut failed = false;
        let next = move || {
            let row = guarded(&self.path, || rows.next().transpose()).transpose();
            let row = row.filter(|_| !failed);
            failed = matches!(row, Some(Err(_)));
            row
        };
        Ok(std::iter::from_fn(next).fuse().take(self.rows))
    }

    /// All rows, in order, without the columns that are not needed.
    pub(crate) fn examples(
        &self,
    ) -> Result<impl Iterator<Item = Result<Example, DataError>>, DataError> {
        let rows = self.read(Columns::projection)?;
        Ok(rows.enumerate().map(|(number, row)| {
            let broken = |reason| DataError::Damaged {
                origin: self.origin(number),
                reason,
            };
            let Values {
                image,
                label,
                caption,
            } = self.columns.values(row?);
            if label.is_none() && self.labelled() {
                return Err(broken(
                    "no label: label every row, or remove the column".into(),
                ));
            }
            let image = image.ok_or_else(|| {
                broken("no image bytes: embed the images in the file, not their paths".into())
            })?;
            Ok(Example {
                row: number,
                image,
                // What is no class any more is out of range.
                label: label.map(|label| match label {
                    Label::Number(number) => number,
                    Label::Name(name) => self.numbers.get(&name).copied().unwrap_or(-1),
                }),
                caption,
            })
        }))
    }

    /// The label of an example of this labelled file, if it is one of the `classes` (any sensible
    /// number when those have no names).
    pub(crate) fn label(&self, example: &Example, classes: &[String]) -> Result<u32, DataError> {
        let classes = if classes.is_empty() {
            MAX_CLASSES
        } else {
            classes.len()
        };
        let label = example.label.unwrap_or(-1);
        match u32::try_from(label) {
            Ok(label) if (label as usize) < classes => Ok(label),
            _ => Err(DataError::LabelRange {
                origin: self.origin(example.row),
                label,
                classes,
            }),
        }
    }

    /// The place of a row, for messages.
    pub(crate) fn origin(&self, row: usize) -> String {
        format!("{}, row {row}", self.path.display())
    }
}

/// Refuses a file that is not parquet, or has lost its end, where parquet keeps its footer.
fn check_magic(path: &Path, file: &mut File) -> Result<(), DataError> {
    let length = file.seek(SeekFrom::End(0)).map_err(DataError::read(path))?;
    let mut word = |place| -> Result<[u8; 4], DataError> {
        let mut bytes = [0; 4];
        file.seek(place)
            .and_then(|_| file.read_exact(&mut bytes))
            .map_err(DataError::read(path))?;
        Ok(bytes)
    };
    let origin = path.display().to_string();
    let [first, last] = match length {
        SHORTEST.. => [word(SeekFrom::Start(0))?, word(SeekFrom::End(-4))?],
        _ => [MAGIC, [0; 4]],
    };
    if first != MAGIC {
        let [expected, got] = [MAGIC, first].map(u32::from_be_bytes);
        return Err(DataError::Magic {
            origin,
            format: "parquet",
            expected,
            got,
        });
    }
    if last != MAGIC {
        return Err(DataError::Length {
            origin,
            expected: "a parquet file that ends with its footer and `PAR1`".into(),
            got: format!("{length} bytes that do not"),
        });
    }
    Ok(())
}

/// Refuses a file whose footer has a list of more elements than it has room for, or is none.
fn check_footer(path: &Path, file: &mut File) -> Result<(), DataError> {
    const END: u64 = 8;
    let mut read = || -> io::Result<Vec<u8>> {
        let length = file.seek(SeekFrom::End(0))?;
        let mut size = [0; 4];
        file.seek(SeekFrom::Start(length - END))?;
        file.read_exact(&mut size)?;
        let size = u64::from(u32::from_le_bytes(size)).min(length - END);
        file.seek(SeekFrom::Start(length - END - size))?;
        let mut bytes = vec![];
        file.take(size).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().map_err(DataError::read(path))?;
    match footer::is_whole(&bytes) {
        true => Ok(()),
        false => Err(DataError::Damaged {
            origin: path.display().to_string(),
            reason: "its footer contradicts itself; fetch it again".into(),
        }),
    }
}

/// Refuses codecs that are not built in.
fn check_compression(path: &Path, metadata: &ParquetMetaData) -> Result<(), DataError> {
    let chunks = metadata
        .row_groups()
        .iter()
        .flat_map(|group| group.columns());
    let mut codecs = chunks.map(|chunk| chunk.compression());
    match codecs.find(|codec| matches!(codec, Compression::LZO)) {
        None => Ok(()),
        Some(codec) => Err(DataError::Compression {
            path: path.to_path_buf(),
            codec: codec.to_string(),
        }),
    }
}

/// The rows of all row groups. The parquet crate reads a negative count as a huge one.
fn count_rows(path: &Path, metadata: &ParquetMetaData) -> Result<usize, DataError> {
    let mut rows = 0;
    for group in metadata.row_groups() {
        rows += u32::try_from(group.num_rows()).map_err(|_| DataError::Damaged {
            origin: path.display().to_string(),
            reason: format!("its footer gives a row group {} rows", group.num_rows()),
        })? as usize;
    }
    Ok(rows)
}

/// The result of a call to the parquet crate, which returns an error for some damaged files and
/// panics for others.
fn guarded<T>(path: &Path, call: impl FnOnce() -> ParquetResult<T>) -> Result<T, DataError> {
    let damaged = |reason| DataError::Damaged {
        origin: path.display().to_string(),
        reason,
    };
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(result) => result.map_err(|error| damaged(error.to_string())),
        Err(_) => Err(damaged(
            "its structure contradicts itself; fetch it again".into(),
        )),
    }
}
