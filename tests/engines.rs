//! The inference engine is the one that was asked for, or the run is refused:
//! providers are tried in order and what was refused is said, a strict demand
//! ends with exit code 3, and a library that is not the wanted ONNX Runtime with
//! 2 and a message that names it. Nothing is left of a run that did not begin.

use std::ffi::OsStr;
use std::fs;
use test_support::{Place, Said, agent, fed, fleet, skipped, sound_model};

#[test]
fn providers_are_tried_in_order_and_refusals_are_said() {
    let place = Place::new();
    let text = |providers: &str| fed("", sound_model(&format!("providers = {providers}")));
    // Whether CUDA can be had depends on the library; this is the embedded one, for processors.
    place.refuse(
        &text("[\"cuda\"]"),
        3,
        &["model `mlp`", "cuda", "LOCKSTEP_ORT_LIB"],
    );
    place.refuse(
        &text("[\"tensorrt\", \"cuda\"]"),
        3,
        &["model `mlp`", "tensorrt", "cuda"],
    );
    place.write("fleet.toml", text("[\"cuda\", \"cpu\"]"));
    place
        .lockstep(&["run", "fleet.toml", "--dir", "strict", "--strict-providers"])
        .with_code(3)
        .naming(&["model `mlp`", "cuda", "strict"]);
    assert!(!place.path("strict").exists());
    let said = place.fine(&["run", "fleet.toml", "--dir", "run", "--json"]);
    let json = said.json();
    assert_eq!(
        (
            &json["provider"],
            &json["models"][0]["refused"][0]["provider"]
        ),
        (&"cpu".into(), &"cuda".into()),
        "{said}"
    );
    assert!(
        said.out.contains("refused     cuda for model mlp") && said.err.contains("cuda is refused"),
        "{said}"
    );
    assert!(
        place
            .fine(&["inspect", "run"])
            .out
            .contains("refused.cuda ")
    );
    place.replays("run");
}

/// Runs a fleet with a model, with another ONNX Runtime library.
fn with_library(place: &Place, library: impl AsRef<OsStr>) -> Said {
    place.write("fleet.toml", fed("", sound_model("")));
    let mut command = place.command(&["run", "fleet.toml", "--dir", "runs/one"]);
    command.env("LOCKSTEP_ORT_LIB", library);
    let said = place.start(command).end();
    assert!(!place.path("runs").exists(), "{said}");
    said
}

/// The C library of this process: a shared library that is none of ONNX Runtime.
fn c_library() -> Option<String> {
    let maps = fs::read_to_string("/proc/self/maps").expect("the maps of this process");
    maps.lines()
        .filter_map(|line| line.split_whitespace().nth(5))
        .find(|path| path.contains("libc.so") || path.contains("libc-"))
        .map(str::to_owned)
}

#[test]
fn a_library_that_is_not_onnx_runtime_is_refused() {
    let place = Place::new();
    with_library(&place, "/gone/libonnxruntime.so")
        .with_code(2)
        .naming(&["/gone/libonnxruntime.so", "LOCKSTEP_ORT_LIB", "1.31"]);
    place.write("junk.so", "this is no library\n");
    with_library(&place, "junk.so")
        .with_code(2)
        .naming(&["junk.so", "LOCKSTEP_ORT_LIB", "1.31"]);
    place.write("empty.so", "");
    with_library(&place, "empty.so")
        .with_code(2)
        .naming(&["empty.so", "LOCKSTEP_ORT_LIB"]);
    with_library(&place, place.path("tmp"))
        .with_code(2)
        .naming(&["tmp", "LOCKSTEP_ORT_LIB"]);
    let Some(c_library) = c_library() else {
        return skipped(
            "libraries of another kind",
            "this process has no shared C library",
        );
    };
    with_library(&place, &c_library)
        .with_code(2)
        .naming(&["OrtGetApiBase", "LOCKSTEP_ORT_LIB"]);
    let whole = fs::read(&c_library).expect("the C library");
    place.write("cut.so", &whole[..whole.len() / 2]);
    with_library(&place, "cut.so")
        .with_code(2)
        .naming(&["cut.so", "LOCKSTEP_ORT_LIB"]);
}

#[test]
fn a_library_of_the_wrong_version_is_refused_with_both() {
    let place = Place::new();
    let source = "#include <stdint.h>\n\
        static const void *api(uint32_t version) { (void)version; return 0; }\n\
        static const char *version(void) { return \"1.20.0\"; }\n\
        static const struct { const void *(*api)(uint32_t); const char *(*version)(void); } base = { api, version };\n\
        const void *OrtGetApiBase(void) { return &base; }\n";
    place.write("old.c", source);
    let compiled = place
        .program("cc")
        .args(["-shared", "-fPIC", "-o", "libonnxruntime.so", "old.c"])
        .status();
    if !compiled.is_ok_and(|status| status.success()) {
        return skipped(
            "a library of another version",
            "there is no C compiler `cc`",
        );
    }
    with_library(&place, "libonnxruntime.so")
        .with_code(2)
        .naming(&["1.20.0", "1.31", "LOCKSTEP_ORT_LIB"]);
    // Where no model is asked for, no library is needed.
    place.write(
        "fleet.toml",
        fleet("ticks = 3", &[agent("one", "counter", "")]),
    );
    let mut command = place.command(&["run", "fleet.toml", "--dir", "run"]);
    command.env("LOCKSTEP_ORT_LIB", "libonnxruntime.so");
    place.start(command).end().with_code(0);
}
