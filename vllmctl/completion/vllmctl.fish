# Completion of vllmctl for fish. One of:
#   vllmctl completion fish | source
#   vllmctl completion fish > ~/.config/fish/completions/vllmctl.fish

function __vllmctl_complete
    set -l program vllmctl
    set -l typed (commandline -opc)
    # As it was called: another installation may know other options.
    if string match -q '*/*' -- $typed[1]
        set program (string replace -r '^~/' "$HOME/" -- $typed[1])
    end
    set -e typed[1]
    set -l word (string replace -r '^["\']' '' -- (commandline -ct))
    set -l reply ($program __complete fish $typed "$word" 2>/dev/null)
    or return
    set -l head (string split ' ' -- $reply[1])
    set -l before $head[3]
    set -e reply[1]
    switch $head[1]
        case files
            set reply (__fish_complete_path (string replace -- "$before" '' $word))
        case folders
            set reply (__fish_complete_directories (string replace -- "$before" '' $word) '')
    end
    for line in $reply
        echo -- $before$line
    end
end

complete -c vllmctl -f -a '(__vllmctl_complete)'
