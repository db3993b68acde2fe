//! IDX, the format of MNIST and Fashion-MNIST: a magic number, the dimensions (big-endian), then
//! bytes.

use crate::classes::check_labels;
use crate::classes::numbered_classes;
use crate::input::read_bytes;
use crate::{DataError, Dataset, ImageShape, Split};
use flate2::read::MultiGzDecoder;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Fashion-MNIST's classes, in label order.
pub const FASHION_MNIST_CLASSES: [&str; 10] = [
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
];

const MNIST_CLASSES: [&str; 10] = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"];

/// Unsigned bytes in three dimensions: [images, rows, columns].
const IMAGES_MAGIC: u32 = 0x0000_0803;
/// Unsigned bytes in one dimension.
const LABELS_MAGIC: u32 = 0x0000_0801;
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
/// Bytes of a file: a set that is read whole must fit in memory.
const MAX_FILE: u64 = 64 << 30;

/// The bytes of an IDX file, and what to call it in messages.
struct Source<'a> {
    bytes: &'a [u8],
    origin: String,
}

/// Reads a set from the bytes of an IDX images file and of its labels file, each gzipped or not.
/// The classes are numbered; [`Dataset::with_class_names`] names them. `origin` is the set's name,
/// also in messages.
///
/// # Errors
/// A wrong magic number, truncated or surplus bytes, no images, or a number of labels that is not
/// the number of images.
pub fn parse_idx(images: &[u8], labels: Option<&[u8]>, origin: &str) -> Result<Dataset, DataError> {
    let images = Source {
        bytes: images,
        origin: format!("{origin} (images)"),
    };
    let labels = labels.map(|bytes| Source {
        bytes,
        origin: format!("{origin} (labels)"),
    });
    parse(origin, &images, labels.as_ref(), &[])
}

/// Reads a split of Fashion-MNIST from the folder with its official files.
pub(crate) fn read_fashion_mnist(folder: &Path, split: Split) -> Result<Dataset, DataError> {
    let [images, labels] = official_files(folder, split);
    read_files(
        "fashion-mnist",
        &images?,
        Some(&labels?),
        &FASHION_MNIST_CLASSES,
    )
}

/// Reads a split of MNIST from the folder with its official files.
pub(crate) fn read_mnist(folder: &Path, split: Split) -> Result<Dataset, DataError> {
    let [images, labels] = official_files(folder, split);
    read_files("mnist", &images?, Some(&labels?), &MNIST_CLASSES)
}

/// Reads a split from a folder with MNIST's file names, or the set whose images file is `path`; its
/// labels are optional.
pub(crate) fn read(path: &Path, split: Split) -> Result<Dataset, DataError> {
    let (images, labels) = if path.is_dir() {
        let [images, labels] = official_files(path, split);
        (images?, labels.ok())
    } else {
        (path.to_path_buf(), labels_beside(path))
    };
    let name = path
        .file_name()
        .map_or_else(|| "idx".into(), |name| name.to_string_lossy().into_owned());
    read_files(&name, &images, labels.as_deref(), &[])
}

/// The images file and the labels file of a split.
fn official_files(folder: &Path, split: Split) -> [Result<PathBuf, DataError>; 2] {
    let prefix = match split {
        Split::Train => "train",
        Split::Test => "t10k",
    };
    ["images-idx3-ubyte", "labels-idx1-ubyte"].map(|part| {
        let name = format!("{prefix}-{part}");
        let zipped = format!("{name}.gz");
        let found = [&name, &zipped]
            .map(|name| folder.join(name))
            .into_iter()
            .find(|path| path.is_file());
        found.ok_or_else(|| DataError::Missing {
            path: folder.to_path_buf(),
            wanted: format!("`{name}` or `{zipped}`"),
            hint: "set `path` to the folder with the official files".into(),
        })
    })
}

/// The labels file that belongs to an images file by name, if it is there, zipped or not.
fn labels_beside(images: &Path) -> Option<PathBuf> {
    let name = images.file_name()?.to_str()?;
    let labels = name
        .replace("images-idx3", "labels-idx1")
        .replace("images.idx3", "labels.idx1");
    if labels == name {
        return None;
    }
    let plain = labels.trim_end_matches(".gz");
    [plain.to_owned(), format!("{plain}.gz")]
        .iter()
        .map(|name| images.with_file_name(name))
        .find(|path| path.is_file())
}

fn read_files(
    name: &str,
    images: &Path,
    labels: Option<&Path>,
    classes: &[&str],
) -> Result<Dataset, DataError> {
    let bytes = |path: &Path| read_bytes(path, MAX_FILE);
    let image_bytes = bytes(images)?;
    let label_bytes = labels.map(bytes).transpose()?;
    let images = Source {
        bytes: &image_bytes,
        origin: images.display().to_string(),
    };
    let labels = labels
        .zip(label_bytes.as_deref())
        .map(|(path, bytes)| Source {
            bytes,
            origin: path.display().to_string(),
        });
    parse(name, &images, labels.as_ref(), classes)
}

fn parse(
    name: &str,
    images: &Source,
    labels: Option<&Source>,
    classes: &[&str],
) -> Result<Dataset, DataError> {
    let ([count, height, width], pixels) = images.array(IMAGES_MAGIC, "IDX images")?;
    if pixels.is_empty() {
        let hint = format!("its header says {count} images of {width}x{height}");
        return Err(DataError::Empty {
            origin: images.origin.clone(),
            hint,
        });
    }
    let shape = ImageShape {
        channels: 1,
        height,
        width,
    };
    let Some(labels) = labels else {
        return Dataset::from_parts(name, shape, pixels, None, Vec::new());
    };
    let ([label_count], bytes) = labels.array(LABELS_MAGIC, "IDX labels")?;
    if label_count != count {
        let origin = format!("{} and {}", images.origin, labels.origin);
        return Err(DataError::Count {
            origin,
            images: count,
            labels: label_count,
        });
    }
    let values: Vec<u32> = bytes.into_iter().map(u32::from).collect();
    let classes = match classes {
        [] => numbered_classes(&values),
        names => names.iter().map(|name| (*name).to_owned()).collect(),
    };
    check_labels(&values, classes.len(), &labels.origin)?;
    Dataset::from_parts(name, shape, pixels, Some(values), classes)
}

impl Source<'_> {
    /// The dimensions and the values of an array of bytes whose magic number must be `magic`.
    fn array<const DIMS: usize>(
        &self,
        magic: u32,
        format: &'static str,
    ) -> Result<([usize; DIMS], Vec<u8>), DataError> {
        let mut stream: Box<dyn Read + '_> = if self.bytes.starts_with(&GZIP_MAGIC) {
            Box::new(MultiGzDecoder::new(self.bytes))
        } else {
            Box::new(self.bytes)
        };
        let mut header = self.take(&mut stream, 4 + 4 * DIMS, "header")?;
        let values = header.split_off(4);
        let got = big_endian(&header);
        if got != magic {
            return Err(DataError::Magic {
                origin: self.origin.clone(),
                format,
                expected: magic,
                got,
            });
        }
        let mut dims = [0; DIMS];
        for (dim, bytes) in dims.iter_mut().zip(values.chunks_exact(4)) {
            *dim = big_endian(bytes) as usize;
        }
        let len = dims
            .iter()
            .try_fold(1usize, |product, &dim| product.checked_mul(dim))
            .ok_or_else(|| {
                let reason =
                    format!("its header gives the dimensions {dims:?}, more than memory can hold");
                DataError::Damaged {
                    origin: self.origin.clone(),
                    reason,
                }
            })?;
        let body = self.take(&mut stream, len, &format!("body of dimensions {dims:?}"))?;
        self.expect_end(&mut stream, &dims)?;
        Ok((dims, body))
    }

    /// Exactly `len` bytes of the stream.
    fn take(&self, stream: &mut dyn Read, len: usize, what: &str) -> Result<Vec<u8>, DataError> {
        let mut bytes = Vec::new();
        let result = stream.take(len as u64).read_to_end(&mut bytes);
        match result {
            Ok(_) if bytes.len() == len => Ok(bytes),
            Err(error) if error.kind() != std::io::ErrorKind::UnexpectedEof => {
                let reason = format!(
                    "{error} after {} of the {len} bytes of the {what}",
                    bytes.len()
                );
                Err(DataError::Damaged {
                    origin: self.origin.clone(),
                    reason,
                })
            }
            _ => Err(DataError::Length {
                origin: self.origin.clone(),
                expected: format!("a {what} of {len} bytes (unzipped)"),
                got: format!("{} bytes", bytes.len()),
            }),
        }
    }

    fn expect_end(&self, stream: &mut dyn Read, dims: &[usize]) -> Result<(), DataError> {
        let mut byte = [0];
        match stream.read(&mut byte) {
            Ok(0) => Ok(()),
            Ok(_) => Err(DataError::Length {
                origin: self.origin.clone(),
                expected: format!("the file to end after its body of dimensions {dims:?}"),
                got: "more bytes".into(),
            }),
            Err(error) => Err(DataError::Damaged {
                origin: self.origin.clone(),
                reason: error.to_string(),
            }),
        }
    }
}

fn big_endian(bytes: &[u8]) -> u32 {
    bytes
        .iter()
        .fold(0, |value, &byte| value << 8 | u32::from(byte))
}
