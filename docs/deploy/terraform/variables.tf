variable "name" {
  description = "What the objects are called: NAME-backup and NAME-verify."
  type        = string
}

variable "namespace" {
  description = "Where the volumes are that are backed up."
  type        = string
}

variable "image" {
  description = "The image; to be replaced by where the cluster's registry has it."
  type        = string
  default     = "weekvault:0.1.0"
}

variable "schedule" {
  description = "When to back up."
  type        = string
  default     = "10 3 * * *"
}

variable "verify_schedule" {
  description = "When to verify the store."
  type        = string
  default     = "10 6 * * 0"
}

variable "time_zone" {
  description = "The time zone of the schedules, and of the day on which a new week begins."
  type        = string
  default     = "Etc/UTC"
}

variable "sources" {
  description = "What to back up: a source's name, and the claim and where to mount it. A sub_path mounts a folder of it only."
  type = map(object({
    claim      = string
    mount_path = string
    sub_path   = optional(string)
  }))

  validation {
    condition     = length(var.sources) > 0
    error_message = "There is nothing to back up."
  }
}

variable "store_claim" {
  description = "The claim of the store: the nfs_volume module's, or any other."
  type        = string
}

variable "writer_secret_name" {
  description = "Of a sealed store: the Secret that has the writer's file as writer.key; null for a plain store. It is not made here, since whatever this module makes, Terraform's state keeps in plain text."
  type        = string
  default     = null

  validation {
    condition     = var.writer_secret_name == null || can(regex("^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$", var.writer_secret_name))
    error_message = "It is the name of a Secret, not the file and not what is in it."
  }
}

variable "keep" {
  description = "Weeks to keep of each source."
  type        = number
  default     = 8
}

variable "pushgateway" {
  description = "URL of the Pushgateway."
  type        = string
  default     = "http://prometheus-pushgateway.monitoring:9091"
}

variable "pushgateway_namespace" {
  description = "Namespace of the Pushgateway, which the pods may reach beside a name server."
  type        = string
  default     = "monitoring"
}

variable "pushgateway_port" {
  description = "Port of the Pushgateway's pod."
  type        = string
  default     = "9091"
}

variable "job" {
  description = "The job that metrics are pushed under; null for NAME-backup."
  type        = string
  default     = null
}

variable "affinity_labels" {
  description = "Labels of the pod that has the volumes mounted: they are ReadWriteOnce, and only its node can mount them. Empty for volumes that any node can mount."
  type        = map(string)
}

variable "memory_limit" {
  description = "Memory limit of the pods."
  type        = string
  default     = "128Mi"
}
