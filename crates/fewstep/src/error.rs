//! How the program ends: 0 done, 1 the work failed, 2 bad input, 128 and a signal's number when that
//! stopped it.

use crate::console;
use crate::plain::plain;
use crate::tasks::command_of;
use fewstep_diffusion::RecipeError;
use fewstep_distill::recipe::RecipeFileError;
use fewstep_distill::run::RunError;
use fewstep_formats::FormatError;
use fewstep_generate::{GenerateError, RegistryError, UnknownClass};
use std::io::ErrorKind;
use std::process::ExitCode;

/// Why a command failed.
pub(crate) enum CliError {
    /// What the user gave cannot be used: exit code 2.
    Input(anyhow::Error),
    /// The work itself failed: exit code 1.
    Work(anyhow::Error),
    /// A signal stopped the work, and all that was done is saved.
    Stopped {
        /// The exit code.
        code: u8,
        /// Where it stopped, and how to go on.
        message: String,
    },
}

/// The result of a command.
pub(crate) type CliResult<T = ()> = Result<T, CliError>;

impl CliError {
    /// Bad input with a message.
    pub(crate) fn input(message: impl std::fmt::Display) -> Self {
        Self::Input(anyhow::anyhow!("{message}"))
    }

    /// The same error, with what it is about before its message.
    pub(crate) fn context(self, what: &str) -> Self {
        match self {
            Self::Input(error) => Self::Input(error.context(what.to_string())),
            Self::Work(error) => Self::Work(error.context(what.to_string())),
            stopped => stopped,
        }
    }

    /// Prints the message and returns the exit code.
    pub(crate) fn report(self) -> ExitCode {
        let (text, code) = self.text();
        eprintln!("{text}");
        ExitCode::from(code)
    }

    /// The same for one of several processes, of this name, whatever is said by it otherwise.
    pub(crate) fn report_of(self, rank: &str) -> u8 {
        let (text, code) = self.text();
        console::insist(format_args!("{rank}: {text}"));
        code
    }

    /// The message with its causes and what helps, for one who goes on without what failed.
    pub(crate) fn message(&self) -> String {
        match self {
            CliError::Input(error) | CliError::Work(error) => plain(&message(error)),
            CliError::Stopped { message, .. } => message.clone(),
        }
    }

    fn text(self) -> (String, u8) {
        let code = match &self {
            CliError::Input(error) if error.chain().any(is_full_disk) => 1,
            CliError::Input(_) => 2,
            CliError::Work(_) => 1,
            CliError::Stopped { code, message } => return (message.clone(), *code),
        };
        (format!("error: {}", self.message()), code)
    }
}

/// Whether there is no space for a file, which is nobody's bad input.
pub(crate) fn is_full_disk(cause: &(dyn std::error::Error + 'static)) -> bool {
    let kind = cause.downcast_ref().map(std::io::Error::kind);
    matches!(
        kind,
        Some(ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge)
    )
}

/// The error and its causes, then the flag or the command that helps. A cause that is already in
/// the message is not repeated.
fn message(error: &anyhow::Error) -> String {
    let message = error.chain().fold(String::new(), |text, cause| {
        let cause = cause.to_string();
        match text {
            text if text.is_empty() => cause,
            text if text.contains(&cause) => text,
            text => format!("{text}: {cause}"),
        }
    });
    let advice = error.chain().find_map(|cause| {
        let advice = cause.downcast_ref().and_then(advice_on_format);
        let advice = advice.or_else(|| cause.downcast_ref().and_then(advice_on_request));
        advice.or_else(|| cause.downcast_ref().and_then(advice_on_model))
    });
    match advice {
        Some(advice) => format!("{message} ({advice})"),
        None => message,
    }
}

/// What helps with an error of a library, in terms of flags. Libraries know none.
fn advice_on_format(error: &FormatError) -> Option<String> {
    let advice = match error {
        FormatError::PickleRefused { .. } => "use --allow-pickle",
        FormatError::OnlyPickled { .. } => {
            "`fewstep import --allow-pickle` converts it to safetensors"
        }
        FormatError::InputForW { .. } => "use --bake-w",
        FormatError::NeedsBase { .. } => "use --like",
        FormatError::NoDescription { .. } => {
            "`fewstep info` says what the file holds; `fewstep import` makes a folder of a single-file model"
        }
        _ => return None,
    };
    Some(advice.into())
}

fn advice_on_model(error: &RegistryError) -> Option<String> {
    match error {
        RegistryError::OtherFile { .. } => Some(
            "`fewstep info` says more; `fewstep import` makes a model folder of a whole model in one file".into(),
        ),
        RegistryError::Recipe(path) => Some(format!(
            "`fewstep info {}` names the command that runs it",
            path.display()
        )),
        _ => None,
    }
}

fn advice_on_request(error: &GenerateError) -> Option<String> {
    Some(match error {
        GenerateError::NeedsControl { task } => {
            format!("use `fewstep {}`, which takes one", command_of(*task))
        }
        GenerateError::OnlyForInpainting => "use `fewstep inpaint`".into(),
        GenerateError::OnlyForInstruct => "use `fewstep instruct`".into(),
        GenerateError::NoNegative => "--negative-prompt".into(),
        GenerateError::Strength(_) => "--strength".into(),
        GenerateError::Recipe(RecipeError::FixedImageGuidance { .. }) => {
            "--image-guidance-scale".into()
        }
        _ => return None,
    })
}

/// Sorts errors into bad input and failed work.
pub(crate) trait IntoCliResult<T> {
    /// The input is bad.
    fn input_error(self) -> CliResult<T>;
    /// The work failed.
    fn work_error(self) -> CliResult<T>;
}

impl<T, E: Into<anyhow::Error>> IntoCliResult<T> for Result<T, E> {
    fn input_error(self) -> CliResult<T> {
        self.map_err(|error| CliError::Input(error.into()))
    }

    fn work_error(self) -> CliResult<T> {
        self.map_err(|error| CliError::Work(error.into()))
    }
}

impl From<RunError> for CliError {
    /// A diverged loss and what cannot be written any more are failures of the work; wrong files,
    /// folders and teachers are bad input.
    fn from(error: RunError) -> Self {
        const UNWRITTEN: &str = "What was saved before is whole: free some space (or make the folder writable), and continue with --resume";
        match error {
            RunError::World(error) => error.into(),
            RunError::NotFinite { .. } => {
                CliError::Work(anyhow::anyhow!("{error} (--out FOLDER --set KEY=VALUE)"))
            }
            RunError::Write { .. } | RunError::Format(FormatError::Write { .. }) => {
                CliError::Work(anyhow::anyhow!("{error}. {UNWRITTEN}"))
            }
            // A transparent error hides the one inside it, which has advice.
            RunError::Format(error) => CliError::Input(error.into()),
            _ => CliError::Input(error.into()),
        }
    }
}

impl From<RecipeFileError> for CliError {
    /// Overrides come from --set.
    fn from(error: RecipeFileError) -> Self {
        match error {
            RecipeFileError::Override { .. } => CliError::input(format!("--set {error}")),
            RecipeFileError::Syntax { .. } => CliError::Input(error.into()),
        }
    }
}

impl From<FormatError> for CliError {
    /// A file or folder that cannot be read or written.
    fn from(error: FormatError) -> Self {
        CliError::Input(error.into())
    }
}

impl From<GenerateError> for CliError {
    /// The request contradicts the model.
    fn from(error: GenerateError) -> Self {
        match error {
            GenerateError::Format(error) => CliError::Input(error.into()),
            error => CliError::Input(error.into()),
        }
    }
}

impl From<RegistryError> for CliError {
    fn from(error: RegistryError) -> Self {
        match error {
            RegistryError::Generate(error) => error.into(),
            RegistryError::Format(error) => CliError::Input(error.into()),
            error => CliError::Input(error.into()),
        }
    }
}

impl From<UnknownClass> for CliError {
    fn from(error: UnknownClass) -> Self {
        CliError::Input(error.into())
    }
}
