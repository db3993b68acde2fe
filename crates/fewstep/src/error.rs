//! How the program ends: 0 done, 1 the work failed, 2 bad input.

use fewstep_distill::recipe::RecipeFileError;
use fewstep_distill::run::RunError;
use fewstep_formats::FormatError;
use fewstep_generate::{GenerateError, RegistryError, UnknownClass};
use std::process::ExitCode;

/// Why a command did not do its work.
pub(crate) enum CliError {
    /// What the user gave cannot be used: exit code 2.
    Input(anyhow::Error),
    /// The work itself failed: exit code 1.
    Work(anyhow::Error),
}

/// The result of a command.
pub(crate) type CliResult<T = ()> = Result<T, CliError>;

impl CliError {
    /// Bad input with a message.
    pub(crate) fn input(message: impl std::fmt::Display) -> Self {
        Self::Input(anyhow::anyhow!("{message}"))
    }

    /// Prints the message and gives the exit code.
    pub(crate) fn report(self) -> ExitCode {
        let (error, code) = match self {
            CliError::Input(error) => (error, 2),
            CliError::Work(error) => (error, 1),
        };
        eprintln!("error: {}", message(&error));
        ExitCode::from(code)
    }
}

/// The error and its causes, then the flag or the verb that helps; a cause that a message quotes already is not said
/// twice.
fn message(error: &anyhow::Error) -> String {
    let message = error.chain().fold(String::new(), |said, cause| {
        let cause = cause.to_string();
        match said {
            said if said.is_empty() => cause,
            said if said.contains(&cause) => said,
            said => format!("{said}: {cause}"),
        }
    });
    let advice = error.chain().find_map(|cause| {
        let of_format = cause.downcast_ref().and_then(of_format);
        of_format.or_else(|| cause.downcast_ref().and_then(of_request))
    });
    match advice {
        Some(advice) => format!("{message} ({advice})"),
        None => message,
    }
}

/// What helps with an error of a library, which knows of no flags.
fn of_format(error: &FormatError) -> Option<String> {
    let advice = match error {
        FormatError::PickleRefused { .. } => "--allow-pickle asks for it",
        FormatError::OnlyPickled { .. } => {
            "`fewstep import --allow-pickle` makes safetensors of it"
        }
        FormatError::InputForW { .. } => "--bake-w does",
        FormatError::NeedsBase { .. } => "--like says which",
        _ => return None,
    };
    Some(advice.into())
}

fn of_request(error: &GenerateError) -> Option<String> {
    Some(match error {
        GenerateError::NeedsControl { task } => {
            format!("use `fewstep {}`, which takes one", task.verb())
        }
        GenerateError::OnlyForInpainting => "use `fewstep inpaint`".into(),
        GenerateError::NoNegative => "--negative-prompt".into(),
        GenerateError::Strength(_) => "--strength".into(),
        _ => return None,
    })
}

/// Says which kind of failure an error is.
pub(crate) trait IntoCliResult<T> {
    /// The user's input is at fault.
    fn input_error(self) -> CliResult<T>;
    /// The work is at fault.
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
    /// A diverged loss is the run's fault; files, folders, teachers and disks are the input's.
    fn from(error: RunError) -> Self {
        match error {
            RunError::NotFinite { .. } => CliError::Work(error.into()),
            RunError::Format(error) => CliError::Input(error.into()),
            _ => CliError::Input(error.into()),
        }
    }
}

impl From<RecipeFileError> for CliError {
    /// Overrides come from the flag of that name.
    fn from(error: RecipeFileError) -> Self {
        match error {
            RecipeFileError::Override { .. } => CliError::input(format!("--set {error}")),
            RecipeFileError::Syntax { .. } => CliError::Input(error.into()),
        }
    }
}

impl From<GenerateError> for CliError {
    /// What is asked of a model contradicts it.
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
