/* A folder shown through FUSE, where every operation takes some milliseconds longer: a stand-in for a busy NFS disk.
 *
 *   slowfs FOLDER MILLISECONDS MOUNTPOINT
 *
 * Each request of the kernel sleeps once and on its own, so those that are under way at once wait at once. As on NFS,
 * attributes and names are cached for five seconds, opening and closing a folder and closing a file wait for nothing, and
 * a listing comes in pages with the attributes of what it names.
 */
#define FUSE_USE_VERSION 35
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fuse3/fuse.h>
#include <fuse3/fuse_lowlevel.h>
#include <linux/fuse.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

static int root;
static struct timespec delay;

static const char *inside(const char *path) { return path[1] ? path + 1 : "."; }
static int answer(long result) { return result < 0 ? -errno : (int)result; }

/* Extended attributes have no calls relative to a folder: the path goes through the open root. */
struct through { char path[4096 + 32]; };
static const char *proc(struct through *buffer, const char *path)
{
    snprintf(buffer->path, sizeof buffer->path, "/proc/self/fd/%d/%s", root, inside(path));
    return buffer->path;
}

static void *init(struct fuse_conn_info *connection, struct fuse_config *config)
{
    config->attr_timeout = config->entry_timeout = config->negative_timeout = 5;
    config->use_ino = 1;
    config->auto_cache = 1;
    connection->max_background = 256;
    /* Requests are looked into before they are carried out. */
    connection->want &= ~(unsigned)FUSE_CAP_SPLICE_READ;
    return NULL;
}
static int s_getattr(const char *path, struct stat *about, struct fuse_file_info *file)
{
    path = inside(path);
    return answer(file ? fstat((int)file->fh, about) : fstatat(root, path, about, AT_SYMLINK_NOFOLLOW));
}
static int s_readlink(const char *path, char *target, size_t size)
{
    ssize_t length = readlinkat(root, inside(path), target, size - 1);
    if (length < 0)
        return -errno;
    target[length] = 0;
    return 0;
}
static int s_mknod(const char *path, mode_t mode, dev_t device) { return answer(mknodat(root, inside(path), mode, device)); }
static int s_mkdir(const char *path, mode_t mode) { return answer(mkdirat(root, inside(path), mode)); }
static int s_unlink(const char *path) { return answer(unlinkat(root, inside(path), 0)); }
static int s_rmdir(const char *path) { return answer(unlinkat(root, inside(path), AT_REMOVEDIR)); }
static int s_symlink(const char *target, const char *path) { return answer(symlinkat(target, root, inside(path))); }
static int s_rename(const char *from, const char *to, unsigned flags)
{
    return answer(renameat2(root, inside(from), root, to + 1, flags));
}
static int s_link(const char *from, const char *to) { return answer(linkat(root, inside(from), root, to + 1, 0)); }
static int s_chmod(const char *path, mode_t mode, struct fuse_file_info *file)
{
    path = inside(path);
    return answer(file ? fchmod((int)file->fh, mode) : fchmodat(root, path, mode, 0));
}
static int s_chown(const char *path, uid_t user, gid_t group, struct fuse_file_info *file)
{
    (void)file;
    return answer(fchownat(root, inside(path), user, group, AT_SYMLINK_NOFOLLOW));
}
static int s_truncate(const char *path, off_t size, struct fuse_file_info *file)
{
    path = inside(path);
    if (file)
        return answer(ftruncate((int)file->fh, size));
    int fd = openat(root, path, O_WRONLY);
    if (fd < 0)
        return -errno;
    int result = answer(ftruncate(fd, size));
    close(fd);
    return result;
}
static int s_utimens(const char *path, const struct timespec times[2], struct fuse_file_info *file)
{
    (void)file;
    return answer(utimensat(root, inside(path), times, AT_SYMLINK_NOFOLLOW));
}
static int s_create(const char *path, mode_t mode, struct fuse_file_info *file)
{
    int fd = openat(root, inside(path), file->flags | O_CREAT, mode);
    file->fh = (uint64_t)fd;
    return fd < 0 ? -errno : 0;
}
static int s_open(const char *path, struct fuse_file_info *file)
{
    int fd = openat(root, inside(path), file->flags);
    file->fh = (uint64_t)fd;
    return fd < 0 ? -errno : 0;
}
static int s_read(const char *path, char *data, size_t size, off_t at, struct fuse_file_info *file)
{
    (void)path;
    return answer(pread((int)file->fh, data, size, at));
}
static int s_write(const char *path, const char *data, size_t size, off_t at, struct fuse_file_info *file)
{
    (void)path;
    return answer(pwrite((int)file->fh, data, size, at));
}
static int s_release(const char *path, struct fuse_file_info *file)
{
    (void)path;
    close((int)file->fh);
    return 0;
}
static int s_fsync(const char *path, int data_only, struct fuse_file_info *file)
{
    (void)path;
    return answer(data_only ? fdatasync((int)file->fh) : fsync((int)file->fh));
}
static int s_statfs(const char *path, struct statvfs *about)
{
    (void)path;
    return answer(fstatvfs(root, about));
}
static int s_opendir(const char *path, struct fuse_file_info *file)
{
    int fd = openat(root, inside(path), O_RDONLY | O_DIRECTORY);
    DIR *folder = fd < 0 ? NULL : fdopendir(fd);
    file->fh = (uint64_t)(uintptr_t)folder;
    return folder ? 0 : -errno;
}
static int s_readdir(const char *path, void *page, fuse_fill_dir_t fill, off_t at, struct fuse_file_info *file,
                     enum fuse_readdir_flags flags)
{
    DIR *folder = (DIR *)(uintptr_t)file->fh;
    (void)flags;
    (void)path;
    seekdir(folder, at);
    for (struct dirent *entry; (entry = readdir(folder));) {
        struct stat about;
        if (fstatat(dirfd(folder), entry->d_name, &about, AT_SYMLINK_NOFOLLOW))
            continue;
        if (fill(page, entry->d_name, &about, telldir(folder), FUSE_FILL_DIR_PLUS))
            break;
    }
    return 0;
}
static int s_releasedir(const char *path, struct fuse_file_info *file)
{
    (void)path;
    return answer(closedir((DIR *)(uintptr_t)file->fh));
}
static int s_fsyncdir(const char *path, int data_only, struct fuse_file_info *file)
{
    (void)data_only;
    (void)path;
    return answer(fsync(dirfd((DIR *)(uintptr_t)file->fh)));
}
static int s_setxattr(const char *path, const char *name, const char *value, size_t size, int flags)
{
    struct through b;
    return answer(lsetxattr(proc(&b, path), name, value, size, flags));
}
static int s_getxattr(const char *path, const char *name, char *value, size_t size)
{
    struct through b;
    return answer(lgetxattr(proc(&b, path), name, value, size));
}
static int s_listxattr(const char *path, char *names, size_t size)
{
    struct through b;
    return answer(llistxattr(proc(&b, path), names, size));
}
static int s_removexattr(const char *path, const char *name)
{
    struct through b;
    return answer(lremovexattr(proc(&b, path), name));
}

static const struct fuse_operations operations = {
    .init = init, .getattr = s_getattr, .readlink = s_readlink, .mknod = s_mknod, .mkdir = s_mkdir, .unlink = s_unlink,
    .rmdir = s_rmdir, .symlink = s_symlink, .rename = s_rename, .link = s_link, .chmod = s_chmod, .chown = s_chown,
    .truncate = s_truncate, .utimens = s_utimens, .create = s_create, .open = s_open, .read = s_read, .write = s_write,
    .release = s_release, .fsync = s_fsync, .statfs = s_statfs, .opendir = s_opendir, .readdir = s_readdir,
    .releasedir = s_releasedir, .fsyncdir = s_fsyncdir, .setxattr = s_setxattr, .getxattr = s_getxattr,
    .listxattr = s_listxattr, .removexattr = s_removexattr,
};

/* What the kernel sends, and what it is answered. */
static ssize_t receive(int device, void *request, size_t size, void *data)
{
    (void)data;
    return read(device, request, size);
}
/* The first answer is the one to FUSE_INIT. libfuse before 3.17 leaves a flag out of it, and then the kernel asks for one
 * name of a folder at a time. */
static ssize_t reply(int device, struct iovec *parts, int count, void *data)
{
    static int begun;
    (void)data;
    if (!begun && count > 1)
        ((struct fuse_init_out *)parts[1].iov_base)->flags |= FUSE_PARALLEL_DIROPS;
    begun = 1;
    return writev(device, parts, count);
}
static const struct fuse_custom_io io = {.read = receive, .writev = reply};

static int waits_for_nothing(const struct fuse_buf *request)
{
    switch (((const struct fuse_in_header *)request->mem)->opcode) {
    case FUSE_INIT:
    case FUSE_DESTROY:
    case FUSE_FORGET:
    case FUSE_BATCH_FORGET:
    case FUSE_INTERRUPT:
    case FUSE_OPENDIR:
    case FUSE_FLUSH:
    case FUSE_RELEASE:
    case FUSE_RELEASEDIR:
        return 1;
    }
    return 0;
}
static void *serve(void *of)
{
    struct fuse_session *session = of;
    struct fuse_buf request = {0};
    while (!fuse_session_exited(session)) {
        int length = fuse_session_receive_buf(session, &request);
        if (length == -EINTR)
            continue;
        if (length <= 0)
            break;
        if (!waits_for_nothing(&request))
            nanosleep(&delay, NULL);
        fuse_session_process_buf(session, &request);
    }
    free(request.mem);
    return NULL;
}

enum { THREADS = 128 };

static int fail(const char *what)
{
    perror(what);
    return 1;
}

int main(int count, char **words)
{
    if (count != 4) {
        fprintf(stderr, "usage: slowfs FOLDER MILLISECONDS MOUNTPOINT\n");
        return 2;
    }
    root = open(words[1], O_RDONLY | O_DIRECTORY);
    if (root < 0)
        return fail(words[1]);
    long milliseconds = strtol(words[2], NULL, 10);
    delay = (struct timespec){.tv_sec = milliseconds / 1000, .tv_nsec = milliseconds % 1000 * 1000000};
    umask(0);

    struct fuse_args arguments = FUSE_ARGS_INIT(1, words);
    struct fuse *slow = fuse_new(&arguments, &operations, sizeof operations, NULL);
    int device = open("/dev/fuse", O_RDWR | O_CLOEXEC);
    if (!slow || device < 0 || fuse_session_custom_io(fuse_get_session(slow), &io, device))
        return fail("/dev/fuse");
    char options[128];
    snprintf(options, sizeof options, "fd=%d,rootmode=40000,user_id=%u,group_id=%u", device, getuid(), getgid());
    if (mount("slowfs", words[3], "fuse.slowfs", MS_NOSUID | MS_NODEV, options) || fuse_daemonize(0))
        return fail(words[3]);

    pthread_t threads[THREADS];
    for (int number = 0; number < THREADS; number++)
        if (pthread_create(&threads[number], NULL, serve, fuse_get_session(slow)))
            return 1;
    for (int number = 0; number < THREADS; number++)
        pthread_join(threads[number], NULL);
    return 0;
}
