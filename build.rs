//! Tells the linker where a ready-built RocksDB lies, so that neither the program nor its tests need `LD_LIBRARY_PATH`.

fn main() {
    println!("cargo:rerun-if-env-changed=ROCKSDB_LIB_DIR");
    // Without the variable the crate `rocksdb` compiles RocksDB from source and links it statically: nothing to find at run time.
    if let Some(folder) = std::env::var_os("ROCKSDB_LIB_DIR") {
        let folder = folder.display();
        println!("cargo:rustc-link-arg=-Wl,-rpath,{folder}");
        println!("cargo:rustc-link-arg=-Wl,-rpath,$ORIGIN");
    }
}
