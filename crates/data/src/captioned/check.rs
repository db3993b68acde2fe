//! Reading a whole set to see whether it can be used.

use super::example::{Example, Named};
use super::{Captioned, Check, Contents, given_with};
use crate::DataError;
use crate::collector::CHUNK;
use crate::pairs::{GivenKind, check_aspect};
use crate::survey::Checked;
use rayon::prelude::*;
use sha2::{Digest, Sha256};

/// How many bad examples are named before the rest is only counted.
const NAMED: usize = 10;

impl Captioned {
    /// Reads the whole set and returns what is in it.
    ///
    /// # Errors
    /// When examples cannot be used: the first of them with their places, and how many there are.
    pub fn check(&self, check: Check) -> Result<Contents, DataError> {
        let mut settings = format!("{} {} {}", self.size, self.channels, self.limit);
        // Not the default, so that caches of earlier versions keep their names.
        if !self.images.fit.is_default() {
            settings.push_str(&format!(" {:?}", self.images.fit));
        }
        let mut hash = Sha256::new_with_prefix(&settings);
        // The words of earlier versions, whose caches have their names from them. They read depth
        // maps otherwise, where these have no reading.
        let given = match self.given {
            None => "None",
            Some(GivenKind::Images) => "Some(Pictures)",
            Some(GivenKind::DepthMaps) => "Some(DepthMaps) without readings",
        };
        let mut sources = Sha256::new_with_prefix(format!("{settings} {given}"));
        let (mut captions, mut problems, mut bad) = (vec![], vec![], 0);
        let mut examples = self.stored();
        loop {
            let chunk: Vec<_> = examples.by_ref().take(CHUNK).collect();
            if chunk.is_empty() {
                break;
            }
            let checked: Vec<Result<(String, [_; 2]), DataError>> = chunk
                .into_par_iter()
                .map(|(_, example)| {
                    let example = example?;
                    self.check_example(&example, check)?;
                    let image = Sha256::digest(&example.image);
                    let source = example.given.as_ref().map_or(image, Sha256::digest);
                    Ok((example.caption, [image, source]))
                })
                .collect();
            for example in checked {
                match example {
                    Ok((caption, [image, source])) => {
                        sources.update(source);
                        hash.update(image);
                        hash.update(caption.len().to_le_bytes());
                        hash.update(caption.as_bytes());
                        captions.push(caption);
                    }
                    Err(problem) => {
                        bad += 1;
                        if problems.len() < NAMED {
                            problems.push(problem.to_string());
                        }
                    }
                }
            }
        }
        if bad > 0 {
            return Err(DataError::Examples {
                origin: self.name.clone(),
                bad,
                problems,
            });
        }
        if captions.is_empty() {
            return Err(DataError::Empty {
                origin: self.name.clone(),
                hint: "its files have no images".into(),
            });
        }
        let [fingerprint, sources] = [hash, sources].map(|hash| {
            let digest = hash.finalize();
            digest[..8]
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect()
        });
        Ok(Contents {
            captions,
            fingerprint,
            sources,
        })
    }

    fn check_example(&self, example: &Example, check: Check) -> Result<(), DataError> {
        if check == Check::Decoded {
            self.decode(example)?;
        }
        if let Some(given) = &example.given {
            let partner = given_with(example);
            let image = (&*example.image, &*example.origin);
            check_aspect(self.images.fit, image, (given, &partner))?;
            if check == Check::Decoded {
                self.decode_source(example)?;
            }
        }
        Ok(())
    }

    /// Every example by its name, some at a time: the file of its image, or what is wrong.
    pub(crate) fn checked(&self) -> impl Iterator<Item = Vec<(String, Checked)>> + '_ {
        let mut examples = self.stored();
        let checked = |(name, example): Named| {
            let checked = example.and_then(|example| {
                self.check_example(&example, Check::Decoded)?;
                Ok(example.image)
            });
            (name, checked)
        };
        std::iter::from_fn(move || {
            let chunk: Vec<Named> = examples.by_ref().take(CHUNK).collect();
            (!chunk.is_empty()).then(|| chunk.into_par_iter().map(checked).collect())
        })
    }
}
