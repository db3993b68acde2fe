//! Statistics of a set of real images, kept in a file.

use crate::networks::{metadata, read};
use crate::{FeatureId, FeatureKind, FeatureNetwork, MetricsError, Result, Statistics};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use std::{collections::HashMap, path::Path};

/// Statistics of real images, with the network they were made with and what they were made from:
/// a safetensors file with `mean` and `covariance` in double precision, the rest in its metadata.
#[derive(Clone, Debug, PartialEq)]
pub struct Reference {
    /// Mean and covariance.
    pub statistics: Statistics,
    /// The network they were made with.
    pub network: FeatureId,
    /// What they were made from: a name, or a fingerprint of the images.
    pub source: String,
}

impl Reference {
    /// Refuses a network that is not the one this reference was made with.
    ///
    /// # Errors
    /// When the names or the hashes of the weights differ.
    pub fn check(&self, network: &dyn FeatureNetwork) -> Result<()> {
        if self.network == *network.id() {
            return Ok(());
        }
        Err(MetricsError::NetworkMismatch {
            source_name: self.source.clone(),
            reference: self.network.to_string(),
            network: network.id().to_string(),
        })
    }

    /// The reference as the bytes of a safetensors file.
    ///
    /// # Errors
    /// When the covariance is not `dim * dim` values.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let dim = self.statistics.dim();
        let bytes = |values: &[f64]| values.iter().flat_map(|v| v.to_le_bytes()).collect();
        let mean: Vec<u8> = bytes(&self.statistics.mean);
        let covariance: Vec<u8> = bytes(&self.statistics.covariance);
        let metadata = HashMap::from(
            [
                ("count", self.statistics.count.to_string()),
                ("network", self.network.name.clone()),
                ("network_hash", self.network.hash.clone()),
                ("network_kind", kind_name(self.network.kind).to_owned()),
                ("source", self.source.clone()),
            ]
            .map(|(key, value)| (key.to_owned(), value)),
        );
        let failed = |source| MetricsError::Format {
            origin: self.source.clone(),
            source,
        };
        let view = |shape, bytes| TensorView::new(Dtype::F64, shape, bytes).map_err(failed);
        let tensors = [
            ("mean", view(vec![dim], &mean)?),
            ("covariance", view(vec![dim, dim], &covariance)?),
        ];
        safetensors::serialize(tensors, Some(metadata)).map_err(failed)
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote; `origin` names the bytes in messages.
    ///
    /// # Errors
    /// When the bytes are something else.
    pub fn from_bytes(bytes: &[u8], origin: &str) -> Result<Self> {
        let failed = |source| MetricsError::Format {
            origin: origin.to_owned(),
            source,
        };
        let file = SafeTensors::deserialize(bytes).map_err(failed)?;
        let metadata = metadata(bytes, origin)?;
        let foreign = |problems: String| MetricsError::Content {
            origin: origin.to_owned(),
            wanted: "reference statistics".to_owned(),
            problems,
        };
        let entry = |key: &str| {
            let value = metadata.get(key).cloned();
            value.ok_or_else(|| foreign(format!("its metadata has no `{key}`")))
        };
        let values = |name: &str| -> Result<Vec<f64>> {
            let view = file.tensor(name).map_err(failed)?;
            if view.dtype() != Dtype::F64 {
                return Err(foreign(format!("`{name}` is {:?}, not F64", view.dtype())));
            }
            let words = view.data().as_chunks::<8>().0.iter();
            let values: Vec<f64> = words.map(|w| f64::from_le_bytes(*w)).collect();
            match values.iter().all(|value| value.is_finite()) {
                true => Ok(values),
                false => Err(foreign(format!(
                    "`{name}` has values that are infinite or not a number"
                ))),
            }
        };
        let (mean, covariance) = (values("mean")?, values("covariance")?);
        if covariance.len() != mean.len() * mean.len() {
            let [dim, len] = [mean.len(), covariance.len()];
            return Err(foreign(format!("{dim} means but {len} covariances")));
        }
        let count = entry("count")?;
        let kind = entry("network_kind")?;
        Ok(Self {
            statistics: Statistics {
                count: count
                    .parse()
                    .map_err(|_| foreign(format!("its count is `{count}`")))?,
                mean,
                covariance,
            },
            network: FeatureId {
                name: entry("network")?,
                hash: entry("network_hash")?,
                kind: [FeatureKind::Inception, FeatureKind::Classifier]
                    .into_iter()
                    .find(|k| kind_name(*k) == kind)
                    .ok_or_else(|| foreign(format!("its network kind is `{kind}`")))?,
            },
            source: entry("source")?,
        })
    }

    /// Writes the reference to a temporary file next to the target, then renames it.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        let failed = |source| MetricsError::File {
            path: path.to_owned(),
            source,
        };
        let partial = path.with_extension("partial");
        std::fs::write(&partial, self.to_bytes()?).map_err(failed)?;
        std::fs::rename(&partial, path).map_err(failed)
    }

    /// Reads a file that [`save`](Self::save) wrote.
    ///
    /// # Errors
    /// When the file cannot be read or holds something else.
    pub fn load(path: &Path) -> Result<Self> {
        let bytes = read(path)?;
        Self::from_bytes(&bytes, &path.display().to_string())
    }
}

fn kind_name(kind: FeatureKind) -> &'static str {
    match kind {
        FeatureKind::Inception => "inception",
        FeatureKind::Classifier => "classifier",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reference() -> Reference {
        Reference {
            statistics: Statistics {
                count: 7,
                mean: vec![1.0, std::f64::consts::PI],
                covariance: vec![1.0, 0.1, 0.1, 2.0 / 3.0],
            },
            network: FeatureId {
                name: "net".into(),
                hash: "ab".into(),
                kind: FeatureKind::Classifier,
            },
            source: "seven images".into(),
        }
    }

    #[test]
    fn a_file_gives_back_what_was_saved() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("stats.safetensors");
        reference().save(&path).unwrap();
        assert_eq!(Reference::load(&path).unwrap(), reference());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn other_bytes_are_refused_with_their_name() {
        let error = Reference::from_bytes(b"no tensors here", "there.bin").unwrap_err();
        assert!(
            error.to_string().starts_with("there.bin is no readable"),
            "{error}"
        );
        let view = TensorView::new(Dtype::F64, vec![1], &[0; 8]).unwrap();
        let other = safetensors::serialize([("mean", view)], None).unwrap();
        assert!(Reference::from_bytes(&other, "x").is_err());
    }
}
