#compdef vllmctl
# Completion of vllmctl for zsh. One of:
#   source <(vllmctl completion zsh)           # behind compinit, in ~/.zshrc
#   vllmctl completion zsh > "${fpath[1]}/_vllmctl"

_vllmctl() {
    local program=vllmctl reply form more before line
    local -a lines offers typed end
    # As it was called: another installation may know other options.
    if [[ ${words[1]} == */* ]]; then program=${words[1]/#\~\//$HOME/}; fi
    if (( CURRENT > 2 )); then typed=("${(@Q)words[2,CURRENT-1]}"); fi
    reply=$("$program" __complete zsh "${typed[@]}" "${(Q)PREFIX}" 2>/dev/null) || return 1
    lines=("${(@f)reply}")
    read -r form more before <<<"${lines[1]}"
    if [[ -n $before ]]; then compset -P '*='; fi
    case $form in
        files) _files ;;
        folders) _files -/ ;;
        *)
            # _describe takes `word:what is said of it`.
            for line in "${(@)lines[2,-1]}"; do
                if [[ -n $line ]]; then offers+=("${${line%%$'\t'*}//:/\\:}:${line#*$'\t'}"); fi
            done
            if [[ $more == more ]]; then end=(-S ''); fi
            _describe -t words vllmctl offers "${end[@]}"
            ;;
    esac
}

# zsh calls the file itself when it is found in fpath; sourced, it only says what it is for.
if [[ ${funcstack[1]-} == _vllmctl ]]; then
    _vllmctl "$@"
else
    compdef _vllmctl vllmctl
fi
