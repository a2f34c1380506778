//! Fleet files.

use std::path::Path;
use supervisor::fleet::Fleet;

/// Longest message, for a file that is a fraction of it: most of what is wrong is shown with its line.
const MAX_MESSAGE_BYTES: usize = 1 << 20;

/// Reads the text of a fleet file. What is refused is refused with a message that can be shown.
pub fn fleet_file(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return false;
    };
    match Fleet::parse(text, Path::new("fleet.toml")) {
        Ok(fleet) => {
            assert!(
                !fleet.agents.is_empty()
                    || !fleet.models.is_empty()
                    || fleet.name.len() <= text.len()
            );
            true
        }
        Err(error) => {
            let message = error.to_string();
            assert!(
                !message.is_empty() && message.len() <= MAX_MESSAGE_BYTES + 100 * text.len(),
                "a message of {} bytes for a file of {}",
                message.len(),
                text.len()
            );
            false
        }
    }
}
