//! Which columns of a parquet file hold the images, the labels and the captions, and what their
//! values are.

use super::labels::Label;
use crate::{DataConfig, DataError, DataKind};
use parquet::basic::{ConvertedType, LogicalType, Repetition, Type as Physical};
use parquet::data_type::ByteArray;
use parquet::errors::ParquetError;
use parquet::record::{Field, Row};
use parquet::schema::types::{Type, TypePtr};
use std::path::Path;
use std::sync::Arc;

/// What the image column may be called, the preferred name first.
const IMAGE: [&str; 2] = ["image", "img"];
/// What the label column may be called, the preferred name first.
const LABEL: [&str; 2] = ["label", "labels"];
/// What labels are stored as, where they are numbers.
const INTEGERS: [Physical; 2] = [Physical::INT32, Physical::INT64];
/// What labels are stored as, where they are names; and captions.
const TEXTS: [Physical; 1] = [Physical::BYTE_ARRAY];
/// What the column of captions may be called, the preferred name first.
const CAPTION: [&str; 3] = ["text", "caption", "edit_prompt"];

/// The columns that are asked for by name, in place of the usual ones.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'a> {
    image: Option<&'a str>,
    label: Option<&'a str>,
    caption: Option<&'a str>,
    /// Whether labels are of interest at all.
    labels: bool,
}

impl<'a> Wanted<'a> {
    /// As the configuration names them.
    pub(crate) fn of(config: &'a DataConfig) -> Self {
        Self {
            image: config.column.as_deref(),
            label: config.label.as_deref(),
            caption: config.caption.as_deref(),
            labels: config.kind != DataKind::Captioned,
        }
    }

    /// Images in this column.
    pub(crate) fn image(column: &'a str) -> Self {
        Self {
            image: Some(column),
            label: None,
            caption: None,
            labels: false,
        }
    }
}

/// The columns of interest.
pub(super) struct Columns {
    /// A binary column, or a struct of one binary column.
    image: TypePtr,
    /// A column of integers or of names; none in an unlabelled file.
    label: Option<TypePtr>,
    /// A column of texts; none in a file without captions.
    caption: Option<TypePtr>,
}

/// The values of a row, as far as it has them.
#[derive(Default)]
pub(super) struct Values {
    pub(super) image: Option<ByteArray>,
    pub(super) label: Option<Label>,
    pub(super) caption: Option<String>,
}

impl Columns {
    /// Finds the columns of the file `path` among its `fields`. Those that are wanted by name must
    /// be there.
    pub(super) fn find(
        path: &Path,
        fields: &[TypePtr],
        wanted: &Wanted<'_>,
    ) -> Result<Self, DataError> {
        let named = |names: &[&str]| {
            names
                .iter()
                .find_map(|name| fields.iter().find(|field| field.name() == *name))
        };
        let unusable = |wanted: &[&str], expected| DataError::Column {
            path: path.to_path_buf(),
            wanted: wanted.join("` or `"),
            expected,
            got: describe(fields),
        };
        let image_names = wanted.image.map_or(IMAGE.to_vec(), |name| vec![name]);
        let image = named(&image_names).and_then(binary_part);
        let image = image.ok_or_else(|| {
            unusable(
                &image_names,
                "binary values, or a struct with a binary field `bytes`",
            )
        })?;
        let label_names = wanted.label.map_or(LABEL.to_vec(), |name| vec![name]);
        let label = named(&label_names).filter(|_| wanted.labels).cloned();
        let usable = label.as_ref().map(|label| holds_labels(label));
        if !usable.unwrap_or(wanted.label.is_none()) {
            return Err(unusable(&label_names, "integers, or the names of classes"));
        }
        let caption_names = wanted.caption.map_or(CAPTION.to_vec(), |name| vec![name]);
        let caption = named(&caption_names).filter(|column| holds(column, &TEXTS));
        if caption.is_none() && wanted.caption.is_some() {
            return Err(unusable(&caption_names, "texts"));
        }
        Ok(Self {
            caption: caption.cloned(),
            image,
            label,
        })
    }

    /// The columns that may hold labels, where no column is read as such: integers, and texts that
    /// are no captions.
    pub(super) fn passed_over<'a>(&self, fields: &'a [TypePtr]) -> Vec<&'a str> {
        let is_name = |field: &Type| is_text(field) && !CAPTION.contains(&field.name());
        let like_labels = fields
            .iter()
            .filter(|field| holds(field, &INTEGERS) || is_name(field));
        match self.label {
            Some(_) => vec![],
            None => like_labels.map(|field| field.name()).collect(),
        }
    }

    /// Refuses a file without captions.
    pub(super) fn check_captions(&self, path: &Path, fields: &[TypePtr]) -> Result<(), DataError> {
        match self.caption {
            Some(_) => Ok(()),
            None => Err(DataError::Column {
                path: path.to_path_buf(),
                wanted: CAPTION.join("` or `"),
                expected: "texts",
                got: describe(fields),
            }),
        }
    }

    /// Whether the column of this name is one of them.
    pub(super) fn has(&self, name: &str) -> bool {
        let optional = [&self.label, &self.caption].into_iter().flatten();
        std::iter::once(&self.image)
            .chain(optional)
            .any(|column| column.name() == name)
    }

    /// The name of the label column, if there is one.
    pub(super) fn label_name(&self) -> Option<&str> {
        self.label.as_deref().map(Type::name)
    }

    /// Whether labels are the names of classes.
    pub(super) fn labels_are_names(&self) -> bool {
        let label = self.label.as_ref();
        label.is_some_and(|label| holds(label, &TEXTS))
    }

    /// The schema with only these columns, below the schema's `root`.
    pub(super) fn projection(&self, root: &str) -> Result<Type, ParquetError> {
        let columns = [
            Some(&self.image),
            self.label.as_ref(),
            self.caption.as_ref(),
        ];
        projection(root, columns.into_iter().flatten())
    }

    /// The schema with only the column of labels, below the schema's `root`.
    pub(super) fn label_projection(&self, root: &str) -> Result<Type, ParquetError> {
        projection(root, self.label.iter())
    }

    /// The label of a row read with its projection.
    pub(super) fn label(&self, row: Row) -> Option<Label> {
        self.values(row).label
    }

    /// The values of a row read with the projection.
    pub(super) fn values(&self, row: Row) -> Values {
        let is = |column: &Option<TypePtr>, name: &str| {
            column.as_ref().is_some_and(|column| column.name() == name)
        };
        let mut values = Values::default();
        for (name, value) in row.into_columns() {
            if name == self.image.name() {
                values.image = binary(value);
            } else if is(&self.label, &name) {
                values.label = label(value);
            } else if is(&self.caption, &name) {
                values.caption = text(value);
            }
        }
        values
    }
}

fn projection<'a>(
    root: &str,
    columns: impl Iterator<Item = &'a TypePtr>,
) -> Result<Type, ParquetError> {
    Type::group_type_builder(root)
        .with_fields(columns.cloned().collect())
        .build()
}

/// The part of the image column to read, if it is one.
fn binary_part(column: &TypePtr) -> Option<TypePtr> {
    if column.is_primitive() {
        return holds(column, &[Physical::BYTE_ARRAY]).then(|| column.clone());
    }
    let bytes = column
        .get_fields()
        .iter()
        .find(|field| field.name() == "bytes")?;
    let info = column.get_basic_info();
    if !holds(bytes, &[Physical::BYTE_ARRAY]) || !info.has_repetition() {
        return None;
    }
    let group = Type::group_type_builder(column.name())
        .with_repetition(info.repetition())
        .with_fields(vec![bytes.clone()]);
    group.build().ok().map(Arc::new)
}

/// Whether a column holds one value per row, of one of these types.
fn holds(column: &Type, types: &[Physical]) -> bool {
    let info = column.get_basic_info();
    let single = info.has_repetition() && info.repetition() != Repetition::REPEATED;
    column.is_primitive() && single && types.contains(&column.get_physical_type())
}

fn holds_labels(column: &Type) -> bool {
    holds(column, &INTEGERS) || holds(column, &TEXTS)
}

/// Whether a column holds texts, and says so.
fn is_text(column: &Type) -> bool {
    let info = column.get_basic_info();
    let logical = matches!(
        info.logical_type_ref(),
        Some(LogicalType::String | LogicalType::Enum)
    );
    let converted = [ConvertedType::UTF8, ConvertedType::ENUM].contains(&info.converted_type());
    holds(column, &TEXTS) && (logical || converted)
}

fn binary(value: Field) -> Option<ByteArray> {
    match value {
        Field::Bytes(bytes) => Some(bytes),
        Field::Group(row) => row
            .into_columns()
            .into_iter()
            .find_map(|(_, value)| binary(value)),
        _ => None,
    }
}

fn text(value: Field) -> Option<String> {
    match value {
        Field::Str(text) => Some(text),
        Field::Bytes(bytes) => String::from_utf8(bytes.data().to_vec()).ok(),
        _ => None,
    }
}

fn label(value: Field) -> Option<Label> {
    match integer(&value) {
        Some(number) => Some(Label::Number(number)),
        None => text(value)
            .filter(|name| !name.trim().is_empty())
            .map(Label::Name),
    }
}

fn integer(value: &Field) -> Option<i64> {
    match *value {
        Field::Byte(value) => Some(value.into()),
        Field::Short(value) => Some(value.into()),
        Field::Int(value) => Some(value.into()),
        Field::Long(value) => Some(value),
        Field::UByte(value) => Some(value.into()),
        Field::UShort(value) => Some(value.into()),
        Field::UInt(value) => Some(value.into()),
        Field::ULong(value) => i64::try_from(value).ok(),
        _ => None,
    }
}

/// The columns' names and types, for a message.
fn describe(fields: &[TypePtr]) -> String {
    let one = |field: &TypePtr| match field.is_primitive() {
        true => format!("{}: {}", field.name(), field.get_physical_type()),
        false => format!(
            "{}: struct of {{{}}}",
            field.name(),
            describe(field.get_fields())
        ),
    };
    fields.iter().map(one).collect::<Vec<_>>().join(", ")
}
