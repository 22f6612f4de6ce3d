# Completion of the command tunport for bash; installed where bash-completion looks.
#
# Options and reasons come from the command's own help, so that no list here gets old. bash breaks words at ":" and "=",
# which stand within a port: the word is taken from the line instead, and what readline keeps is cut from each answer.

_tunport() {
  local program=$1 line=${COMP_LINE:0:COMP_POINT}
  local word=${line##*[[:space:]]}
  local -a words=()
  read -ra words <<<"${line%"$word"}"
  local count=${#words[@]} previous=
  ((count == 0)) || previous=${words[count - 1]}
  COMPREPLY=()

  local i
  for ((i = 1; i < count; ++i)); do
    [[ ${words[i]} == -- ]] || continue
    # COMMAND and its arguments.
    if ((i == count - 1)); then
      mapfile -t COMPREPLY < <(compgen -c -- "$word")
    else
      mapfile -t COMPREPLY < <(compgen -f -- "$word")
    fi
    return
  done

  if ((count <= 1)); then
    mapfile -t COMPREPLY < <(compgen -W 'host gate list doctor --help --version' -- "$word")
    return
  fi

  local answers=
  case $previous in
    --explain) answers="all $("$program" host --explain all 2>/dev/null | sed 's/ .*//')" ;;
    --mac | --host-address | --interface-address | --advertise-prefix | --udp-echo | --fd | --route | --map | --publish | --allow | --deny | --dns) return ;;
    --to) answers="direct socks5:// http://" ;;
    --user) answers=$(compgen -u -- "$word") ;;
    host | gate | doctor) answers=$(_tunport_ports "$word") ;;
  esac
  if [[ $word == -* || $previous != host && $previous != gate && $previous != doctor && -z $answers ]]; then
    answers=$("$program" "${words[1]}" --help 2>/dev/null | sed -n 's/^  \(-h,\)\{0,1\}\(--[a-z-]*\).*/\2/p')
    [[ ${words[1]} != host && ${words[1]} != gate ]] || answers+=" --"
  fi
  mapfile -t COMPREPLY < <(compgen -W "$answers" -- "$word")

  # A port goes on: no blank behind its parts.
  if ((${#COMPREPLY[@]} == 1)) && [[ ${COMPREPLY[0]} == *[:=/] ]]; then compopt -o nospace 2>/dev/null; fi
  local kept=${word%"${word##*[:=]}"}
  if [[ -n $kept && $COMP_WORDBREAKS == *[:=]* ]]; then COMPREPLY=("${COMPREPLY[@]#"$kept"}"); fi
}

# The ports that begin with $1: kinds, the names of devices that are there, options.
_tunport_ports() {
  local word=$1 kind name
  case $word in
    *,mode=*) printf '%s\n' "${word%,mode=*},mode="{either,create,attach} ;;
    *,netns=*) printf '%s\n' "${word%,netns=*},netns="$(ip netns list 2>/dev/null | sed 's/ .*//') ;;
    *,vnethdr=*) printf '%s\n' "${word%,vnethdr=*},vnethdr="{10,12,20,24} ;;
    *,offload=*) printf '%s\n' "${word%,offload=*},offload="{auto,off} ;;
    *,*) printf '%s\n' "${word%,*},"{mode=,fd=,address=,mtu=,mac=,txqueuelen=,up,napi,backpressure,vnethdr=,netns=,offload=,spin=,moderation=} ;;
    tap:* | tun:*)
      kind=${word%%:*}
      while read -r name _ ; do
        name=${name%:}
        [[ -n $name ]] && printf '%s\n' "$kind:$name"
      done < <(ip tuntap list mode "$kind" 2>/dev/null)
      ;;
    *) printf '%s\n' tap: tun: ;;
  esac
}

complete -F _tunport tunport
