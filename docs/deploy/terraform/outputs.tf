output "job" {
  description = "The job that metrics are pushed under."
  value       = local.environment.WEEKVAULT_JOB
}
