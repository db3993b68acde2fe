//! Files of textual inversion.

use crate::FormatError;
use crate::pickle;
use crate::reading;
use crate::tensors::raw::RawTensor;
use crate::tensors::{eight_bits, finite};
use safetensors::SafeTensors;
use sha2::{Digest, Sha256};
use std::path::Path;

/// What files call the vectors whose token they do not name.
const NAMELESS: [&str; 2] = ["emb_params", "*"];
/// What they call those of the first and of the second text encoder of SDXL.
pub(crate) const FIRST: [&str; 2] = ["clip_l", "text_encoders_0"];
pub(crate) const SECOND: [&str; 2] = ["clip_g", "text_encoders_1"];
/// The files of diffusers in the folder of a textual inversion.
const IN_FOLDERS: [&str; 2] = ["learned_embeds.safetensors", "learned_embeds.bin"];
/// Bytes of the longest token.
const LONGEST: usize = 1000;
/// More vectors leave no room in a text of 77 tokens.
pub(crate) const MOST: usize = 75;

/// Vectors that stand for a token in texts: a textual inversion.
#[derive(Clone, Debug, PartialEq)]
pub struct Embedding {
    pub(super) origin: String,
    /// SHA-256 of the file.
    pub(super) digest: [u8; 32],
    token: String,
    /// For each text encoder, one after the other.
    pub(super) vectors: Vec<Vec<Vec<f32>>>,
}

impl Embedding {
    /// Reads a file of diffusers, of web interfaces, or of trainers for SDXL: safetensors, or a pickle,
    /// of which nothing is run; or the file of diffusers in a folder. Its token is the given one, or
    /// else the one that the file names, or the name of the file without its ending.
    ///
    /// # Errors
    /// When it cannot be read or is something else.
    pub fn read(path: &Path, token: Option<&str>) -> Result<Self, FormatError> {
        let in_folder = IN_FOLDERS.map(|name| path.join(name));
        let in_folder = in_folder.iter().find(|file| file.is_file());
        let path = in_folder.map_or(path, |file| file);
        let origin = path.display().to_string();
        let bad = |reason: String| FormatError::Embedding {
            origin: origin.clone(),
            reason,
        };
        let bytes = reading::bytes(path)?;
        let digest = Sha256::digest(&bytes).into();
        let pickled = pickle::is_pickle(path, &bytes);
        let (bytes, named) = match pickled {
            true => pickle::unpickle_embedding(&bytes, &origin)?,
            false => (bytes, None),
        };
        let file = SafeTensors::deserialize(&bytes);
        let file = file.map_err(|error| bad(format!("it is no safetensors file: {error}")))?;
        eight_bits::refuse(&file, || origin.clone())?;
        let mut tensors = vec![];
        for (name, view) in file.tensors() {
            let tensor = RawTensor::borrowed(view.dtype(), view.shape().to_vec(), view.data());
            if !tensor.is_float() {
                return Err(bad(format!("`{name}` holds no floats: {:?}", view.dtype())));
            }
            let vectors =
                rows(view.shape(), &tensor.values()).map_err(|e| bad(format!("`{name}` {e}")))?;
            tensors.push((name, vectors));
        }
        let (of_file, vectors) = sorted(tensors).map_err(bad)?;
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let token = token.map(String::from).or(of_file).or(named);
        let token = token.unwrap_or_else(|| stem.into_owned());
        match token.trim().len() {
            0 => Err(bad("its token is empty: give one".into())),
            length if length > LONGEST => Err(bad(format!(
                "its token has {length} bytes, and at most {LONGEST} are read: give a shorter one"
            ))),
            _ => Ok(Self {
                origin: origin.clone(),
                digest,
                token: token.trim().into(),
                vectors,
            }),
        }
    }

    /// What stands for it in texts.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// How many tokens of a text it takes.
    pub fn len(&self) -> usize {
        self.vectors[0].len()
    }

    /// Never: a file without vectors is refused.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The vectors in a tensor of one or of several.
fn rows(shape: &[usize], values: &[f32]) -> Result<Vec<Vec<f32>>, String> {
    let [count, width] = match *shape {
        [width] => [1, width],
        [count, width] => [count, width],
        _ => {
            return Err(format!(
                "has the shape {shape:?}, and vectors have [count, width]"
            ));
        }
    };
    if count == 0 || width == 0 || count > MOST {
        return Err(format!(
            "has {count} vectors of {width} numbers, and a token has 1 to {MOST} vectors"
        ));
    }
    if !finite::all(values.iter().copied()) {
        return Err("has numbers that are NaN or infinite".into());
    }
    Ok(values.chunks(width).map(<[f32]>::to_vec).collect())
}

/// The token, if the names say it, and the vectors for each text encoder.
#[allow(clippy::type_complexity)]
fn sorted(
    mut tensors: Vec<(String, Vec<Vec<f32>>)>,
) -> Result<(Option<String>, Vec<Vec<Vec<f32>>>), String> {
    let mut take = |names: &[&str]| {
        let at = tensors
            .iter()
            .position(|(name, _)| names.contains(&&**name))?;
        Some(tensors.swap_remove(at).1)
    };
    let both = (take(&FIRST), take(&SECOND));
    match (both, tensors.len()) {
        ((Some(first), Some(second)), 0) if first.len() == second.len() => {
            Ok((None, vec![first, second]))
        }
        ((Some(first), Some(second)), 0) => Err(format!(
            "it has {} vectors for the first text encoder and {} for the second",
            first.len(),
            second.len()
        )),
        ((Some(only), None), 0) => Ok((None, vec![only])),
        ((None, None), 1) => {
            let (name, vectors) = tensors.swap_remove(0);
            let named = !NAMELESS.contains(&&*name);
            Ok((named.then_some(name), vec![vectors]))
        }
        ((_, _), more) => Err(format!(
            "it is no textual inversion: {more} of its tensors have other names than `emb_params`, `clip_l` and `clip_g`, and one token has one tensor"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_the_token_or_the_text_encoder() {
        let one = || vec![vec![1.0, 2.0]];
        let named = |names: &[&str]| {
            let tensors = names.iter().map(|name| (name.to_string(), one()));
            sorted(tensors.collect()).map(|(token, vectors)| (token, vectors.len()))
        };
        assert_eq!(named(&["<toy>"]), Ok((Some("<toy>".into()), 1)));
        assert_eq!(named(&["emb_params"]), Ok((None, 1)));
        assert_eq!(named(&["*"]), Ok((None, 1)));
        assert_eq!(named(&["clip_g", "clip_l"]), Ok((None, 2)));
        assert_eq!(
            named(&["text_encoders_0", "text_encoders_1"]),
            Ok((None, 2))
        );
        assert_eq!(named(&["clip_l"]), Ok((None, 1)));
        for others in [&["clip_g"][..], &["a", "b"], &["clip_l", "a"], &[]] {
            assert!(named(others).is_err(), "{others:?}");
        }
        let uneven = vec![
            ("clip_l".into(), one()),
            ("clip_g".into(), vec![vec![0.0], vec![0.0]]),
        ];
        assert!(sorted(uneven).is_err());
    }

    #[test]
    fn tokens_have_an_end() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("x.safetensors");
        for (length, is_read) in [(LONGEST, true), (LONGEST + 1, false)] {
            let tensor = RawTensor::owned(safetensors::Dtype::F32, vec![1], vec![0; 4]);
            let bytes = safetensors::serialize([("a".repeat(length), tensor)], None);
            std::fs::write(&file, bytes.expect("bytes")).expect("written");
            assert_eq!(Embedding::read(&file, None).is_ok(), is_read, "{length}");
        }
    }

    #[test]
    fn vectors_are_rows_of_finite_numbers() {
        assert_eq!(rows(&[2], &[1.0, 2.0]), Ok(vec![vec![1.0, 2.0]]));
        assert_eq!(rows(&[2, 1], &[1.0, 2.0]), Ok(vec![vec![1.0], vec![2.0]]));
        for (shape, values) in [
            (&[1, 1, 2][..], &[1.0, 2.0][..]),
            (&[0, 2], &[]),
            (&[2], &[1.0, f32::NAN]),
            (&[76, 1], &[0.0; 76]),
        ] {
            assert!(rows(shape, values).is_err(), "{shape:?}");
        }
    }
}
