variable "name" {
  description = "What the volume and the claim are called."
  type        = string
}

variable "namespace" {
  description = "Where the claim is."
  type        = string
}

variable "server" {
  description = "The NFS server."
  type        = string
}

variable "share" {
  description = "The exported folder."
  type        = string
}

variable "storage" {
  description = "The size that is asked for. NFS does not enforce it."
  type        = string
  default     = "10Gi"
}

# The provider takes an empty name for none, and the cluster's default class would then make a volume of its own.
variable "storage_class" {
  description = "A storage class that volume and claim have in common. There need not be one of that name."
  type        = string
  default     = "weekvault-static"

  validation {
    condition     = var.storage_class != ""
    error_message = "The claim would get the default class, and never the volume."
  }
}

variable "mount_options" {
  description = "soft: an operation fails after some 12 s without the server, and the run with it; a hard mount would hang for ever."
  type        = list(string)
  default     = ["nfsvers=4", "soft", "timeo=30", "retrans=3", "actimeo=5"]
}
