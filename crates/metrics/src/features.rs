//! The networks whose activations are compared, and their outputs.

use crate::{Images, MetricsError, Result};
use serde::{Deserialize, Serialize};

/// What kind of network it is, which decides what its metrics may be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FeatureKind {
    /// The Inception network of 2015-12-05: its Fréchet distance is *the* FID of the literature.
    Inception,
    /// Any other classifier: good for comparing models with each other, not with papers.
    Classifier,
}

/// Which network a metric was measured with. Part of every result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeatureId {
    /// Name of the network and of the definition around it.
    pub name: String,
    /// SHA-256 of the file with its weights, in hexadecimal.
    pub hash: String,
    /// What kind of network it is.
    pub kind: FeatureKind,
}

impl FeatureId {
    /// What a Fréchet distance measured with this network is called.
    pub fn fid_label(&self) -> &'static str {
        match self.kind {
            FeatureKind::Inception => "FID",
            FeatureKind::Classifier => "classifier FID",
        }
    }

    /// What a kernel distance measured with this network is called.
    pub fn kid_label(&self) -> &'static str {
        match self.kind {
            FeatureKind::Inception => "KID",
            FeatureKind::Classifier => "classifier KID",
        }
    }

    /// What a [`classifier_score`](crate::classifier_score) of this network's probabilities is
    /// called.
    pub fn score_label(&self) -> &'static str {
        match self.kind {
            FeatureKind::Inception => "Inception score",
            FeatureKind::Classifier => "classifier score",
        }
    }
}

impl std::fmt::Display for FeatureId {
    /// The name and the first twelve digits of the hash.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let digits = self.hash.get(..12).unwrap_or(&self.hash);
        write!(f, "{} ({digits})", self.name)
    }
}

/// A network whose activations are compared.
pub trait FeatureNetwork: Send {
    /// Which network this is.
    fn id(&self) -> &FeatureId;

    /// Width of its features.
    fn dim(&self) -> usize;

    /// Activations of the images, in their order. Any number of images may be given: the
    /// network splits them into batches that fit its memory.
    ///
    /// # Errors
    /// When the network does not take images of this shape.
    fn features(&self, images: &Images) -> Result<Features>;
}

/// Activations of a set of images, `[count, dim]`, row by row.
#[derive(Clone, Debug, PartialEq)]
pub struct Features {
    /// Width of a row.
    pub dim: usize,
    /// `count * dim` values.
    pub values: Vec<f32>,
    /// Class probabilities of the same images, when the network has a head.
    pub probabilities: Option<Probabilities>,
}

/// Class probabilities of a set of images, `[count, classes]`, row by row.
#[derive(Clone, Debug, PartialEq)]
pub struct Probabilities {
    /// Width of a row.
    pub classes: usize,
    /// `count * classes` values; each row sums to 1.
    pub values: Vec<f32>,
}

impl Features {
    /// Features without probabilities.
    ///
    /// # Errors
    /// When the values are not whole rows.
    pub fn new(dim: usize, values: Vec<f32>) -> Result<Self> {
        check_rows(values.len(), dim)?;
        Ok(Self {
            dim,
            values,
            probabilities: None,
        })
    }

    /// Features of no images, for [`append`](Self::append).
    pub fn empty(dim: usize) -> Self {
        Self {
            dim,
            values: Vec::new(),
            probabilities: None,
        }
    }

    /// Number of images.
    pub fn count(&self) -> usize {
        self.values.len().checked_div(self.dim).unwrap_or(0)
    }

    /// Activations of one image after the other.
    pub fn rows(&self) -> impl Iterator<Item = &[f32]> {
        self.values.chunks_exact(self.dim.max(1))
    }

    /// Appends the features of more images.
    ///
    /// # Errors
    /// When the widths differ.
    pub fn append(&mut self, other: Features) -> Result<()> {
        check_same_dim(self.dim, other.dim)?;
        self.probabilities = match (self.probabilities.take(), other.probabilities) {
            (None, theirs) if self.values.is_empty() => theirs,
            (Some(mut ours), Some(theirs)) => {
                check_same_dim(ours.classes, theirs.classes)?;
                ours.values.extend(theirs.values);
                Some(ours)
            }
            (ours, None) if other.values.is_empty() => ours,
            _ => None,
        };
        self.values.extend(other.values);
        Ok(())
    }
}

impl Probabilities {
    /// Probabilities over a block of values.
    ///
    /// # Errors
    /// When the values are not whole rows.
    pub fn new(classes: usize, values: Vec<f32>) -> Result<Self> {
        check_rows(values.len(), classes)?;
        Ok(Self { classes, values })
    }

    /// Number of images.
    pub fn count(&self) -> usize {
        self.values.len().checked_div(self.classes).unwrap_or(0)
    }

    /// Probabilities of one image after the other.
    pub fn rows(&self) -> impl Iterator<Item = &[f32]> {
        self.values.chunks_exact(self.classes.max(1))
    }

    /// The likeliest class of each image.
    pub fn classes_of_rows(&self) -> Vec<usize> {
        self.rows()
            .map(|row| {
                let best = row.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
                best.map_or(0, |(class, _)| class)
            })
            .collect()
    }
}

fn check_rows(len: usize, width: usize) -> Result<()> {
    if width == 0 || !len.is_multiple_of(width) {
        return Err(MetricsError::RowWidth { len, width });
    }
    Ok(())
}

pub(crate) fn check_same_dim(left: usize, right: usize) -> Result<()> {
    if left != right {
        return Err(MetricsError::DimensionMismatch { left, right });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn appending_keeps_order_and_probabilities() {
        let part = |v: f32| Features {
            dim: 2,
            values: vec![v, v + 0.5],
            probabilities: Probabilities::new(2, vec![1.0 - v, v]).ok(),
        };
        let mut all = Features::empty(2);
        all.append(part(0.0)).unwrap();
        all.append(part(1.0)).unwrap();
        assert_eq!(all.count(), 2);
        assert_eq!(all.values, [0.0, 0.5, 1.0, 1.5]);
        assert_eq!(all.probabilities.unwrap().classes_of_rows(), [0, 1]);
    }

    #[test]
    fn other_widths_and_cut_rows_are_refused() {
        assert!(Features::new(3, vec![0.0; 4]).is_err());
        let error = Features::empty(3).append(Features::empty(4)).unwrap_err();
        assert!(
            error.to_string().contains("3 and of 4 dimensions"),
            "{error}"
        );
    }

    #[test]
    fn only_inception_is_called_fid() {
        let id = |kind| FeatureId {
            name: "n".into(),
            hash: "0123456789abcdef".into(),
            kind,
        };
        assert_eq!(id(FeatureKind::Inception).fid_label(), "FID");
        assert_eq!(id(FeatureKind::Classifier).fid_label(), "classifier FID");
        assert_eq!(
            id(FeatureKind::Classifier).score_label(),
            "classifier score"
        );
        assert_eq!(id(FeatureKind::Inception).to_string(), "n (0123456789ab)");
    }
}
