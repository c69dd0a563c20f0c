//! The binary `recado`: everything is in the library.

fn main() -> std::process::ExitCode {
    recado::cli::main()
}
