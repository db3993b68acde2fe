//! How the steps of a sampler are spread over time.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// How the steps of a sampler are spread over time, in diffusers' terms (`timestep_spacing` and
/// `steps_offset`) where diffusers has it. Integer arithmetic throughout for discrete schedules.
/// Recipes store it as its name.
///
/// diffusers' multistep solvers make a grid of N + 1 timesteps and drop the last, which `drop_last`
/// stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Spacing {
    /// t = i / N. The papers' grid; the only one for distilled models.
    Uniform,
    /// Timesteps ⌊T / N⌋ i + offset, where i runs from N − 1 to 0: the first step is not at the
    /// noisiest time. With `drop_last` ⌊T / (N + 1)⌋ i + offset, where i runs from N to 1.
    Leading {
        /// diffusers' `steps_offset`: 1 for Stable Diffusion.
        offset: usize,
        /// Whether the last of N + 1 timesteps is dropped.
        drop_last: bool,
    },
    /// Timesteps round(T − i T / N) − 1: the first step is at the noisiest time. Always N steps
    /// (diffusers' floating-point range sometimes gives one more, at timestep −1).
    Trailing,
    /// Timesteps spread evenly over 0..T−1, both ends included. A single step is at the noisiest
    /// time (in diffusers, at timestep 0).
    Linspace {
        /// Whether the last of N + 1 timesteps is dropped.
        drop_last: bool,
    },
    /// Even steps of log-SNR between t = 1 and the least noisy time, then 0.
    LogSnr,
}

/// Names of earlier versions, which are still read.
const OLD_NAMES: [(&str, Spacing); 3] = [
    ("leading-one", Spacing::LEADING_OFFSET_1),
    ("leading-inner", Spacing::LEADING_OFFSET_1_DROP_LAST),
    ("linspace-inner", Spacing::LINSPACE_DROP_LAST),
];

impl Spacing {
    /// diffusers' `leading` with `steps_offset` 0.
    pub const LEADING: Self = Self::Leading {
        offset: 0,
        drop_last: false,
    };
    /// diffusers' `leading` with `steps_offset` 1: how Stable Diffusion is sampled with DDIM.
    pub const LEADING_OFFSET_1: Self = Self::Leading {
        offset: 1,
        drop_last: false,
    };
    /// The same for multistep solvers.
    pub const LEADING_OFFSET_1_DROP_LAST: Self = Self::Leading {
        offset: 1,
        drop_last: true,
    };
    /// diffusers' `linspace`.
    pub const LINSPACE: Self = Self::Linspace { drop_last: false };
    /// The same for multistep solvers.
    pub const LINSPACE_DROP_LAST: Self = Self::Linspace { drop_last: true };

    /// Every spacing by its name, with the offsets that models are used with.
    pub const NAMED: [(&'static str, Self); 8] = [
        ("uniform", Self::Uniform),
        ("leading", Self::LEADING),
        ("leading-offset-1", Self::LEADING_OFFSET_1),
        (
            "leading-offset-1-drop-last",
            Self::LEADING_OFFSET_1_DROP_LAST,
        ),
        ("trailing", Self::Trailing),
        ("linspace", Self::LINSPACE),
        ("linspace-drop-last", Self::LINSPACE_DROP_LAST),
        ("log-snr", Self::LogSnr),
    ];

    /// Its name on the command line and in recipes: `leading-offset-1-drop-last`.
    pub fn name(self) -> String {
        let dropped = |drop_last| if drop_last { "-drop-last" } else { "" };
        match self {
            Self::Uniform => "uniform".into(),
            Self::Leading {
                offset: 0,
                drop_last,
            } => format!("leading{}", dropped(drop_last)),
            Self::Leading { offset, drop_last } => {
                format!("leading-offset-{offset}{}", dropped(drop_last))
            }
            Self::Trailing => "trailing".into(),
            Self::Linspace { drop_last } => format!("linspace{}", dropped(drop_last)),
            Self::LogSnr => "log-snr".into(),
        }
    }

    /// Its name in earlier versions, which is still read.
    pub fn old_name(self) -> Option<&'static str> {
        let (name, _) = OLD_NAMES.iter().find(|(_, spacing)| *spacing == self)?;
        Some(name)
    }

    /// Timesteps that no grid of this spacing can use.
    pub(super) fn unused_timesteps(self) -> usize {
        match self {
            Self::Leading { offset, drop_last } => offset.saturating_add(usize::from(drop_last)),
            Self::Linspace { drop_last } => usize::from(drop_last),
            Self::Uniform | Self::Trailing | Self::LogSnr => 0,
        }
    }

    /// Whether the first step is somewhat below the noisiest time.
    #[cfg(test)]
    pub(super) fn starts_below(self) -> bool {
        matches!(self, Self::Leading { .. })
    }
}

impl fmt::Display for Spacing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.name())
    }
}

impl From<Spacing> for String {
    fn from(spacing: Spacing) -> Self {
        spacing.name()
    }
}

impl TryFrom<String> for Spacing {
    type Error = UnknownSpacing;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        name.parse()
    }
}

impl FromStr for Spacing {
    type Err = UnknownSpacing;

    fn from_str(given: &str) -> Result<Self, Self::Err> {
        if let Some((_, spacing)) = OLD_NAMES.iter().find(|(name, _)| *name == given) {
            return Ok(*spacing);
        }
        let (base, drop_last) = match given.strip_suffix("-drop-last") {
            Some(base) => (base, true),
            None => (given, false),
        };
        let offset = base.strip_prefix("leading-offset-").map(str::parse);
        let spacing = match (base, offset) {
            (_, Some(Ok(offset))) => Self::Leading { offset, drop_last },
            ("leading", _) => Self::Leading {
                offset: 0,
                drop_last,
            },
            ("linspace", _) => Self::Linspace { drop_last },
            ("uniform", _) if !drop_last => Self::Uniform,
            ("trailing", _) if !drop_last => Self::Trailing,
            ("log-snr", _) if !drop_last => Self::LogSnr,
            _ => return Err(UnknownSpacing(given.to_owned())),
        };
        Ok(spacing)
    }
}

/// A name that no spacing has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no spacing `{0}`: use one of {list}", list = Spacing::NAMED.map(|(name, _)| name).join(", "))]
pub struct UnknownSpacing(pub String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_the_same_everywhere() {
        let more = Spacing::Leading {
            offset: 3,
            drop_last: true,
        };
        for (name, spacing) in Spacing::NAMED {
            assert_eq!(spacing.name(), name);
        }
        let all = Spacing::NAMED.map(|(_, spacing)| spacing);
        for spacing in all.into_iter().chain([more]) {
            assert_eq!(spacing.to_string().parse(), Ok(spacing));
            let json = serde_json::to_string(&spacing).expect("serialises");
            assert_eq!(json, format!("\"{spacing}\""));
            let back: Spacing = serde_json::from_str(&json).expect("parses");
            assert_eq!(back, spacing);
        }
    }

    #[test]
    fn names_of_earlier_versions_are_read() {
        let names = [
            "uniform",
            "leading",
            "leading-one",
            "leading-inner",
            "trailing",
            "linspace",
            "linspace-inner",
            "log-snr",
        ];
        assert_eq!(
            names.map(str::parse),
            Spacing::NAMED.map(|(_, spacing)| Ok(spacing))
        );
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_known_ones() {
        for wrong in [
            "karras",
            "leading-offset-",
            "uniform-drop-last",
            "trailing-drop-last",
            "log-snr-drop-last",
            "leading-offset--1",
        ] {
            assert!(wrong.parse::<Spacing>().is_err(), "{wrong}");
        }
        let error = "karras".parse::<Spacing>().expect_err("no such spacing");
        assert!(error.to_string().contains("leading-offset-1, "), "{error}");
    }

    #[test]
    fn only_names_that_have_changed_are_old() {
        assert_eq!(Spacing::LEADING_OFFSET_1.old_name(), Some("leading-one"));
        assert_eq!(
            Spacing::LINSPACE_DROP_LAST.old_name(),
            Some("linspace-inner")
        );
        assert_eq!(Spacing::Trailing.old_name(), None);
    }
}
