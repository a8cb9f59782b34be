//! Compiles the contract: message types and gRPC code, canonical ProtoJSON for the push protocol,
//! and the descriptors that gRPC reflection serves. Pure Rust, so that a build needs no `protoc`.

use std::{env, error::Error, fs, path::PathBuf};

const INGEST: &str = "tailcast/ingest/v1/ingest.proto";
const PUSH: &str = "tailcast/push/v1/push.proto";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=tailcast");
    let out = PathBuf::from(env::var("OUT_DIR")?);

    let mut compiler = protox::Compiler::new(["."])?;
    compiler.include_source_info(true).include_imports(true).open_files([INGEST, PUSH])?;
    let descriptors = compiler.encode_file_descriptor_set();
    fs::write(out.join("tailcast.bin"), &descriptors)?;

    // Payloads are `Bytes`: they are slices of the message they arrived in, not copies.
    tonic_prost_build::configure()
        .bytes(".tailcast.ingest.v1")
        .bytes(".tailcast.push.v1")
        .compile_fds(compiler.file_descriptor_set())?;

    pbjson_build::Builder::new().register_descriptors(&descriptors)?.build(&[".tailcast.push.v1"])?;
    Ok(())
}
