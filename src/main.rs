//! The program: see the library's front page.

fn main() -> std::process::ExitCode {
    weekvault::cli::main()
}
