//! The binary `recado`: everything is in the library.

/// Of librdkafka and RocksDB too.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> std::process::ExitCode {
    recado::cli::main()
}
