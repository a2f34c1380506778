//! ONNX external data: weights in files beside the graph.
//!
//! The engine would open these files itself, and this process may open none. `ort` has a call that takes their
//! contents, but only in memory that it owns, and weights can be large. This is the same call with borrowed memory.

use ort::session::Session;
use ort::session::builder::SessionBuilder;
use ort::{AsPointer, Error};
use std::ffi::{CString, c_char};

/// Makes a session of a graph and its external data, by the names in the graph.
pub(crate) fn commit_with_external_data(
    mut builder: SessionBuilder,
    graph: &[u8],
    external_data: &[(&str, &[u8])],
) -> Result<Session, Error> {
    let names = external_data
        .iter()
        .map(|(name, _)| Ok(CString::new(*name)?))
        .collect::<Result<Vec<CString>, Error>>()?;
    let names: Vec<*const c_char> = names.iter().map(|name| name.as_ptr()).collect();
    let contents: Vec<*mut c_char> = external_data
        .iter()
        .map(|(_, bytes)| bytes.as_ptr().cast::<c_char>().cast_mut())
        .collect();
    let lengths: Vec<usize> = external_data.iter().map(|(_, bytes)| bytes.len()).collect();
    if !external_data.is_empty() {
        // SAFETY: the three arrays are as long as is said, the names are live for the call, which copies them, and the
        // builder's options are not shared. The engine remembers the pointers to the contents, only reads behind them,
        // and does so only while the session is made: it copies what it takes ("The data will be copied into the
        // graph", says its interface). That happens below, where `external_data` is still borrowed; the builder ends
        // there.
        let status = unsafe {
            (ort::api().AddExternalInitializersFromMemory)(
                builder.ptr_mut(),
                names.as_ptr(),
                contents.as_ptr(),
                lengths.as_ptr(),
                external_data.len(),
            )
        };
        // SAFETY: the status comes from the engine and is used once.
        unsafe { Error::result_from_status(status)? };
    }
    builder.commit_from_memory(graph)
}
