//! One compiler process, from its start to its end.

use super::{ArtifactError, Compiler};
use crate::sys::{anonymous_memory, pass_descriptors};
use shm_protocol::boot::{self, Role};
use shm_protocol::exit_code;
use shm_protocol::sys::sealed_memory;
use std::io::{self, Read, Seek};
use std::os::unix::process::ExitStatusExt;
use std::process::{self, Child, Command, ExitStatus, Stdio};

/// Most bytes of the message of a compiler, in bytes.
const MESSAGE_BYTES: u64 = 16 << 10;

impl Compiler {
    /// Compiles a component in a process of its own. The calling thread must live until that ends, which it does
    /// here: the process dies with the thread that started it.
    pub(super) fn compile(&self, component: &[u8]) -> Result<Vec<u8>, ArtifactError> {
        let system = |action| move |source| ArtifactError::System { action, source };
        let input =
            sealed_memory("component", &[component]).map_err(system("give the component to"))?;
        let mut output = anonymous_memory("artifact").map_err(system("make memory for"))?;
        let output_of_child = output.try_clone().map_err(system("make memory for"))?;
        let mut command = self.command();
        let descriptors = [
            (input, boot::COMPONENT),
            (output_of_child.into(), boot::ARTIFACT),
        ];
        pass_descriptors(&mut command, descriptors).map_err(system("prepare"))?;
        let child = command.spawn().map_err(system("start"))?;
        let (status, said) = end(child).map_err(system("wait for"))?;
        check_exit(status, &said)?;
        // The writer has ended, so the bytes can no longer change.
        let mut artifact = Vec::new();
        output
            .rewind()
            .and_then(|()| output.read_to_end(&mut artifact))
            .map_err(system("read the result of"))?;
        Ok(artifact)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        let nan = if self.canonical_nan {
            "canonical"
        } else {
            "native"
        };
        command.args([Role::Compiler.argument(), nan, &process::id().to_string()]);
        // The result of a compiler must not depend on the environment.
        command
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        command
    }
}

/// Waits for the end of a process, and gives its standard error.
fn end(mut child: Child) -> io::Result<(ExitStatus, String)> {
    let mut said = Vec::new();
    let mut rest = io::sink();
    if let Some(mut stderr) = child.stderr.take() {
        let read = stderr.by_ref().take(MESSAGE_BYTES).read_to_end(&mut said);
        // The rest is read too, or the process would block.
        let read = read.and_then(|_| io::copy(&mut stderr, &mut rest));
        if let Err(error) = read {
            child.kill()?;
            child.wait()?;
            return Err(error);
        }
    }
    let status = child.wait()?;
    Ok((status, String::from_utf8_lossy(&said).trim().to_owned()))
}

fn check_exit(status: ExitStatus, said: &str) -> Result<(), ArtifactError> {
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    match code {
        Some(exit_code::SUCCESS) => Ok(()),
        Some(exit_code::BAD_INPUT) if !said.is_empty() => Err(ArtifactError::Refused {
            reason: said.to_owned(),
        }),
        Some(exit_code::MACHINE) => Err(ArtifactError::System {
            action: "run",
            source: io::Error::other(said.to_owned()),
        }),
        _ => {
            let ending = match (status.code(), status.signal()) {
                (Some(code), _) => format!("it exited with code {code}"),
                (None, Some(signal)) => format!("it was ended by signal {signal}"),
                (None, None) => "it ended".to_owned(),
            };
            let said = if said.is_empty() {
                String::new()
            } else {
                format!("; it said: {said}")
            };
            Err(ArtifactError::Failed { ending, said })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_refusal_blames_the_component() {
        let judge = |code, said: &str| check_exit(ExitStatus::from_raw(code), said);
        assert!(judge(0, "").is_ok());
        assert!(matches!(
            judge(5 << 8, "no memory"),
            Err(ArtifactError::System { .. })
        ));
        assert!(
            matches!(judge(2 << 8, "no"), Err(ArtifactError::Refused { reason }) if reason == "no")
        );
        for status in [2 << 8, 70 << 8, 9, 6] {
            assert!(
                matches!(judge(status, ""), Err(ArtifactError::Failed { .. })),
                "{status}"
            );
        }
    }
}
