//! How a command fails: one sentence for the person, one code for the script.

/// A failure with its exit code: 1 refused or not verified, 2 configuration or usage, 3 environment, 4 asked and nothing
/// answered.
#[derive(Debug)]
pub struct Failure {
    message: String,
    /// The exit code.
    pub code: u8,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

/// What a command yields.
pub type Outcome = Result<(), Failure>;

impl Failure {
    /// Refused, or something does not verify.
    pub fn refused(message: impl std::fmt::Display) -> Self {
        Self { message: message.to_string(), code: 1 }
    }

    /// Wrong configuration or arguments.
    pub fn usage(message: impl std::fmt::Display) -> Self {
        Self { message: message.to_string(), code: 2 }
    }

    /// Departments were asked, and no field came.
    pub fn unanswered(message: impl std::fmt::Display) -> Self {
        Self { message: message.to_string(), code: 4 }
    }

    /// Files, network, other systems.
    pub fn environment(message: impl std::fmt::Display) -> Self {
        Self { message: message.to_string(), code: 3 }
    }
}

/// Names the file in an error.
pub fn file(path: &std::path::Path) -> impl FnOnce(std::io::Error) -> Failure {
    let path = path.display().to_string();
    move |error| Failure::environment(format!("`{path}`: {error}"))
}
